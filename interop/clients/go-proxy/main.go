// Command go-proxy stands for the Go `ssh-proxy` before a daemon where that is not at hand: the same
// library with its narrow choices. It lets in one user, logs in to one daemon with the app's key and
// without a name, and relays channels and requests one by one. Who may enter, and where the daemon
// is, it is told by flags instead of the platform.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

// The one key exchange of the original, at both ends.
const keyExchange = "curve25519-sha256@libssh.org"

// Bytes after which keys are exchanged again: of the original's GiB as many as a test can move.
const rekeyBytes = 1 << 20

type options struct {
	hostKey     string
	user        string
	daemon      string
	daemonKey   string
	fingerprint string
}

func parse() options {
	var o options
	flag.StringVar(&o.hostKey, "hostKey", "", "a file with the host key")
	flag.StringVar(&o.user, "user", "", "whom to let in; the password is in GO_PROXY_PASSWORD")
	flag.StringVar(&o.daemon, "daemon", "", "host and port of the daemon")
	flag.StringVar(&o.daemonKey, "daemonKey", "", "a file with the key that opens the daemon")
	flag.StringVar(&o.fingerprint, "fingerprint", "", "SHA-256 of the daemon's host key")
	flag.Parse()
	return o
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o options) error {
	host, err := readKey(o.hostKey)
	if err != nil {
		return err
	}
	key, err := readKey(o.daemonKey)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("listening %s\n", listener.Addr())
	for {
		stream, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := o.serve(stream, host, key); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
}

func readKey(path string) (ssh.Signer, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(pem)
}

func config() ssh.Config {
	return ssh.Config{KeyExchanges: []string{keyExchange}, RekeyThreshold: rekeyBytes}
}

// serve has one user's connection to its end.
func (o options) serve(stream net.Conn, host, key ssh.Signer) error {
	defer stream.Close()
	server := &ssh.ServerConfig{
		Config: config(),
		PasswordCallback: func(who ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if who.User() != o.user || string(password) != os.Getenv("GO_PROXY_PASSWORD") {
				return nil, errors.New("not the user")
			}
			return nil, nil
		},
	}
	server.AddHostKey(host)
	client, fromClient, clientRequests, err := ssh.NewServerConn(stream, server)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer client.Close()
	daemon, fromDaemon, daemonRequests, err := o.dial(key)
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	defer daemon.Close()
	go relayChannels(fromDaemon, client)
	go relayChannels(fromClient, daemon)
	go relayGlobal(daemonRequests, client)
	go relayGlobal(clientRequests, daemon)
	ended := make(chan error, 2)
	go func() { ended <- client.Wait() }()
	go func() { ended <- daemon.Wait() }()
	<-ended
	return nil
}

// dial logs in to the daemon, which has to answer a keepalive.
func (o options) dial(key ssh.Signer) (
	ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error,
) {
	stream, err := net.Dial("tcp", o.daemon)
	if err != nil {
		return nil, nil, nil, err
	}
	daemon, channels, requests, err := ssh.NewClientConn(stream, o.daemon, &ssh.ClientConfig{
		Config:          config(),
		User:            "",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: o.pinned,
	})
	if err != nil {
		stream.Close()
		return nil, nil, nil, err
	}
	if _, _, err := daemon.SendRequest("keepalive@cloudfoundry.org", true, nil); err != nil {
		daemon.Close()
		return nil, nil, nil, fmt.Errorf("keepalive: %w", err)
	}
	return daemon, channels, requests, nil
}

func (o options) pinned(_ string, _ net.Addr, key ssh.PublicKey) error {
	sum := sha256.Sum256(key.Marshal())
	if got := base64.RawStdEncoding.EncodeToString(sum[:]); got != o.fingerprint {
		return fmt.Errorf("the daemon has another host key: %s", got)
	}
	return nil
}
