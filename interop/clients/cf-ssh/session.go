package main

import (
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// What the cf CLI takes for the size of what is no terminal.
const (
	width  = 80
	height = 43
)

// session runs the command, or a shell, on our standard streams.
func session(client *ssh.Client, o options) error {
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	stdin, err := session.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := session.StderrPipe()
	if err != nil {
		return err
	}
	if o.wantsTerminal() {
		restore, err := takeTerminal(session)
		if err != nil {
			return err
		}
		defer restore()
	}
	if len(o.command) > 0 {
		err = session.Start(strings.Join(o.command, " "))
	} else {
		err = session.Shell()
	}
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stdin, os.Stdin)
		_ = stdin.Close()
	}()
	var output sync.WaitGroup
	output.Add(2)
	go func() { defer output.Done(); _, _ = io.Copy(os.Stdout, stdout) }()
	go func() { defer output.Done(); _, _ = io.Copy(os.Stderr, stderr) }()
	if term.IsTerminal(int(os.Stdout.Fd())) {
		go tellSizes(session)
	}
	err = session.Wait()
	output.Wait()
	return err
}

func (o options) wantsTerminal() bool {
	switch {
	case o.terminal:
		return true
	case o.noTerminal:
		return false
	default:
		return len(o.command) == 0 && term.IsTerminal(int(os.Stdin.Fd()))
	}
}

// takeTerminal asks for one at the far end, and makes ours hand everything on.
func takeTerminal(session *ssh.Session) (restore func(), err error) {
	name := os.Getenv("TERM")
	if name == "" {
		name = "xterm"
	}
	columns, rows := size()
	modes := ssh.TerminalModes{ssh.ECHO: 1, ssh.TTY_OP_ISPEED: 115200, ssh.TTY_OP_OSPEED: 115200}
	if err := session.RequestPty(name, rows, columns, modes); err != nil {
		return nil, err
	}
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return func() {}, nil
	}
	return func() { _ = term.Restore(int(os.Stdin.Fd()), before) }, nil
}

func size() (columns, rows int) {
	columns, rows, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return width, height
	}
	return columns, rows
}

// tellSizes tells the far end each new size of our terminal.
func tellSizes(session *ssh.Session) {
	resized := make(chan os.Signal, 16)
	signal.Notify(resized, syscall.SIGWINCH)
	for range resized {
		columns, rows := size()
		if session.WindowChange(rows, columns) != nil {
			return
		}
	}
}
