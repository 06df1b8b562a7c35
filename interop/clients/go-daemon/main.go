// Command go-daemon stands for the Go `diego-sshd` where that is not at hand: the same library, the
// same flags as far as Cloud Controller gives them, and its narrow choices: one key exchange, one RSA
// key as host key and as login key, and a user without a name.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

// The one key exchange that daemons in the field have in common.
const keyExchange = "curve25519-sha256@libssh.org"

// Bytes after which keys are exchanged again: of the original's GiB as many as a test can move.
const rekeyBytes = 1 << 20

type options struct {
	address       string
	hostKey       string
	authorizedKey string
}

func parse() options {
	var o options
	flag.StringVar(&o.address, "address", "127.0.0.1:2222", "where to listen")
	flag.StringVar(&o.hostKey, "hostKey", "", "the host key, in PEM")
	flag.StringVar(&o.authorizedKey, "authorizedKey", "", "the key that opens, a line")
	flag.Bool("inheritDaemonEnv", false, "sessions always have the environment here")
	flag.String("logLevel", "info", "nothing is logged but the start")
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
	config, err := o.config()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	fmt.Println(`{"source":"sshd","message":"sshd.started"}`)
	for {
		stream, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(stream, config)
	}
}

func (o options) config() (*ssh.ServerConfig, error) {
	host, err := ssh.ParsePrivateKey([]byte(o.hostKey))
	if err != nil {
		return nil, fmt.Errorf("-hostKey: %w", err)
	}
	opens, _, _, _, err := ssh.ParseAuthorizedKey([]byte(o.authorizedKey))
	if err != nil {
		return nil, fmt.Errorf("-authorizedKey: %w", err)
	}
	config := &ssh.ServerConfig{
		Config: ssh.Config{KeyExchanges: []string{keyExchange}, RekeyThreshold: rekeyBytes},
		PublicKeyCallback: func(who ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			// Routes of apps name no user.
			if who.User() != "" || !bytes.Equal(key.Marshal(), opens.Marshal()) {
				return nil, errors.New("not the app's key without a name")
			}
			return nil, nil
		},
	}
	config.AddHostKey(host)
	return config, nil
}

// serve has one connection to its end.
func serve(stream net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(stream, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "handshake:", err)
		return
	}
	defer conn.Close()
	// Whatever it is, keepalives included, an answer that says no is one.
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			go session(channel)
		case "direct-tcpip":
			go directTCPIP(channel)
		default:
			_ = channel.Reject(ssh.UnknownChannelType, "unknown channel type")
		}
	}
}
