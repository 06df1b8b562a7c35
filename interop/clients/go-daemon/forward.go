package main

import (
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// directTCPIP connects a channel to the place that it names (RFC 4254, section 7.2).
func directTCPIP(asked ssh.NewChannel) {
	var place struct {
		Host       string
		Port       uint32
		Originator string
		FromPort   uint32
	}
	if err := ssh.Unmarshal(asked.ExtraData(), &place); err != nil {
		_ = asked.Reject(ssh.ConnectionFailed, "not a place")
		return
	}
	remote, err := net.Dial("tcp", net.JoinHostPort(place.Host, fmt.Sprint(place.Port)))
	if err != nil {
		_ = asked.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer remote.Close()
	channel, requests, err := asked.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	var copies sync.WaitGroup
	copies.Add(2)
	go func() {
		defer copies.Done()
		_, _ = io.Copy(channel, remote)
		_ = channel.CloseWrite()
	}()
	go func() {
		defer copies.Done()
		_, _ = io.Copy(remote, channel)
		_ = remote.(*net.TCPConn).CloseWrite()
	}()
	copies.Wait()
}
