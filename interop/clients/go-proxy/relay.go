package main

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"
)

// relayGlobal passes requests of a connection on, and the answers back.
func relayGlobal(requests <-chan *ssh.Request, to ssh.Conn) {
	for request := range requests {
		ok, answer, err := to.SendRequest(request.Type, request.WantReply, request.Payload)
		if request.WantReply {
			_ = request.Reply(ok && err == nil, answer)
		}
	}
}

// relayChannels opens for each channel that one side asks for the same at the other.
func relayChannels(channels <-chan ssh.NewChannel, to ssh.Conn) {
	for asked := range channels {
		go relayChannel(asked, to)
	}
}

func relayChannel(asked ssh.NewChannel, to ssh.Conn) {
	far, farRequests, err := to.OpenChannel(asked.ChannelType(), asked.ExtraData())
	if err != nil {
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			_ = asked.Reject(refused.Reason, refused.Message)
		} else {
			_ = asked.Reject(ssh.ConnectionFailed, err.Error())
		}
		return
	}
	near, nearRequests, err := asked.Accept()
	if err != nil {
		far.Close()
		return
	}
	go pass(near, nearRequests, far)
	pass(far, farRequests, near)
}

// pass takes all that comes on one channel to another, and closes that when nothing more can come.
func pass(from ssh.Channel, requests <-chan *ssh.Request, to ssh.Channel) {
	var parts sync.WaitGroup
	parts.Add(2)
	go func() {
		defer parts.Done()
		var streams sync.WaitGroup
		streams.Add(2)
		go func() { defer streams.Done(); _, _ = io.Copy(to, from) }()
		go func() { defer streams.Done(); _, _ = io.Copy(to.Stderr(), from.Stderr()) }()
		streams.Wait()
		_ = to.CloseWrite()
	}()
	go func() {
		defer parts.Done()
		for request := range requests {
			ok, err := to.SendRequest(request.Type, request.WantReply, request.Payload)
			if request.WantReply {
				_ = request.Reply(ok && err == nil, nil)
			}
		}
	}()
	parts.Wait()
	_ = to.Close()
}
