package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
)

// listen takes local connections to the far end until the program ends, and says where.
func (f forward) listen(client *ssh.Client) error {
	listener, err := net.Listen("tcp", f.local)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "forwarding %s\n", listener.Addr())
	go func() {
		for {
			local, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(client, local)
		}
	}()
	return nil
}

func (f forward) serve(client *ssh.Client, local net.Conn) {
	defer local.Close()
	remote, err := client.Dial("tcp", f.remote)
	if err != nil {
		fmt.Fprintf(os.Stderr, "connect to %s failed: %s\n", f.remote, err)
		return
	}
	defer remote.Close()
	var copies sync.WaitGroup
	copies.Add(2)
	go pass(&copies, local, remote)
	go pass(&copies, remote, local)
	copies.Wait()
}

// pass copies to the end, and hands the end on; the other direction goes on.
func pass(copies *sync.WaitGroup, to, from net.Conn) {
	defer copies.Done()
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
