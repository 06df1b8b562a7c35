// Command cf-ssh does what `cf ssh` does on the wire, with the library that the cf CLI is made with:
// it logs in with a one-time code as the password, compares the host key by a fingerprint, and runs a
// command, a shell on a terminal, or only forwards ports. With a key in place of the code it logs in
// to a daemon, as the proxy does.
//
// Like the CLI it ends with the status of what it ran, or 1 and a text where that is not known.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// What the cf CLI waits between two keepalives.
const keepaliveEvery = 30 * time.Second

// How long the far end may take to answer. It is no measure, only an end to what hangs.
const patience = 50 * time.Second

type options struct {
	address     string
	user        string
	fingerprint string
	key         string
	forwards    forwards
	noCommand   bool
	terminal    bool
	noTerminal  bool
	rekeyBytes  uint64
	command     []string
}

func parse() options {
	var o options
	flag.StringVar(&o.address, "address", "", "host and port of the proxy")
	flag.StringVar(&o.user, "user", "", "whom to log in as; the code is in CF_SSH_CODE")
	flag.StringVar(&o.fingerprint, "fingerprint", "", "of the host key: MD5, SHA-1 or SHA-256")
	flag.StringVar(&o.key, "i", "", "a file with a key to log in with, and no code")
	flag.Var(&o.forwards, "L", "LOCAL_HOST:PORT:REMOTE_HOST:PORT, may be given again")
	flag.BoolVar(&o.noCommand, "N", false, "run nothing")
	flag.BoolVar(&o.terminal, "tt", false, "a terminal, in any case")
	flag.BoolVar(&o.noTerminal, "T", false, "no terminal")
	flag.Uint64Var(&o.rekeyBytes, "rekey", 0, "exchange keys after so many bytes")
	flag.Parse()
	o.command = flag.Args()
	return o
}

func main() {
	status, err := run(parse())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func run(o options) (int, error) {
	client, err := connect(o)
	if err != nil {
		return 1, err
	}
	defer client.Close()
	if err := keepalive(client); err != nil {
		return 1, err
	}
	for _, forward := range o.forwards {
		if err := forward.listen(client); err != nil {
			return 1, err
		}
	}
	if o.noCommand {
		return 1, client.Wait()
	}
	err = session(client, o)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() == "":
		return exit.ExitStatus(), nil
	default:
		return 1, err
	}
}

// connect logs in with the code as a password and nothing else, or with the key and nothing else.
func connect(o options) (*ssh.Client, error) {
	method := ssh.Password(os.Getenv("CF_SSH_CODE"))
	if o.key != "" {
		pem, err := os.ReadFile(o.key)
		if err != nil {
			return nil, err
		}
		key, err := ssh.ParsePrivateKey(pem)
		if err != nil {
			return nil, err
		}
		method = ssh.PublicKeys(key)
	}
	client, err := ssh.Dial("tcp", o.address, &ssh.ClientConfig{
		Config:          ssh.Config{RekeyThreshold: o.rekeyBytes},
		User:            o.user,
		Auth:            []ssh.AuthMethod{method},
		HostKeyCallback: pinned(o.fingerprint),
	})
	if err != nil && strings.Contains(err.Error(), "unable to authenticate") {
		return nil, fmt.Errorf("error opening SSH connection: you are not authorized: %w", err)
	}
	return client, err
}

// keepalive sends the first one now, which has to be answered whatever the answer is, and more from
// time to time.
func keepalive(client *ssh.Client) error {
	send := func() error {
		_, _, err := client.SendRequest("keepalive@cloudfoundry.org", true, nil)
		return err
	}
	answered := make(chan error, 1)
	go func() { answered <- send() }()
	select {
	case err := <-answered:
		if err != nil {
			return fmt.Errorf("keepalive: %w", err)
		}
	case <-time.After(patience):
		return errors.New("keepalive: no answer")
	}
	go func() {
		for range time.Tick(keepaliveEvery) {
			if send() != nil {
				return
			}
		}
	}()
	return nil
}

// forwards are the values of -L.
type forwards []forward

type forward struct {
	local, remote string
}

func (f *forwards) String() string { return fmt.Sprint(*f) }

func (f *forwards) Set(value string) error {
	parts := strings.Split(value, ":")
	if len(parts) != 4 {
		return errors.New("it has to be LOCAL_HOST:PORT:REMOTE_HOST:PORT")
	}
	join := func(at int) string { return net.JoinHostPort(parts[at], parts[at+1]) }
	*f = append(*f, forward{local: join(0), remote: join(2)})
	return nil
}
