package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// running is the one program of a session, and what was asked for before it.
type running struct {
	channel  ssh.Channel
	env      []string
	terminal *terminal
	command  *exec.Cmd
}

// session answers the requests of a channel; the program ends the channel, or the channel's end the
// program.
func session(asked ssh.NewChannel) {
	channel, requests, err := asked.Accept()
	if err != nil {
		return
	}
	r := running{channel: channel, env: os.Environ()}
	for request := range requests {
		ok := r.handle(request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
	}
	if r.command != nil {
		// It leads its session, and with that a group of its own.
		_ = syscall.Kill(-r.command.Process.Pid, syscall.SIGHUP)
	} else if r.terminal != nil {
		r.terminal.close()
	}
}

func (r *running) handle(request *ssh.Request) bool {
	switch request.Type {
	case "env":
		var variable struct{ Name, Value string }
		if ssh.Unmarshal(request.Payload, &variable) != nil {
			return false
		}
		r.env = append(r.env, variable.Name+"="+variable.Value)
		return true
	case "pty-req":
		return r.takeTerminal(request.Payload)
	case "window-change":
		var size windowChange
		return r.terminal != nil && ssh.Unmarshal(request.Payload, &size) == nil &&
			r.terminal.resize(size) == nil
	case "exec":
		var asked struct{ Command string }
		return ssh.Unmarshal(request.Payload, &asked) == nil && r.start("-c", asked.Command)
	case "shell":
		return r.start()
	default:
		return false
	}
}

// windowChange is of RFC 4254, section 6.7.
type windowChange struct {
	Columns, Rows, Width, Height uint32
}

// takeTerminal is of RFC 4254, section 6.2; new terminals have the modes that are asked for anyway.
func (r *running) takeTerminal(payload []byte) bool {
	var asked struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if r.terminal != nil || ssh.Unmarshal(payload, &asked) != nil {
		return false
	}
	terminal, err := openTerminal()
	if err != nil {
		return false
	}
	r.terminal = terminal
	r.env = append(r.env, "TERM="+asked.Term)
	return terminal.resize(windowChange{Columns: asked.Columns, Rows: asked.Rows}) == nil
}

// start runs the shell with these arguments and has the rest done by others.
func (r *running) start(arguments ...string) bool {
	if r.command != nil {
		return false
	}
	command := exec.Command("/bin/sh", arguments...)
	command.Env = r.env
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := r.connect(command)
	if err != nil || command.Start() != nil {
		return false
	}
	r.command = command
	if r.terminal != nil {
		r.terminal.slave.Close()
	}
	go r.finish(output)
	return true
}

// connect joins the channel to the terminal, or to pipes; it gives what copies all output.
func (r *running) connect(command *exec.Cmd) (output func(), err error) {
	if t := r.terminal; t != nil {
		command.Stdin, command.Stdout, command.Stderr = t.slave, t.slave, t.slave
		command.SysProcAttr.Setctty = true
		go func() { _, _ = io.Copy(t.master, r.channel) }()
		return func() { _, _ = io.Copy(r.channel, t.master) }, nil
	}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := command.StderrPipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(stdin, r.channel)
		_ = stdin.Close()
	}()
	return func() {
		var copies sync.WaitGroup
		copies.Add(2)
		go func() { defer copies.Done(); _, _ = io.Copy(r.channel, stdout) }()
		go func() { defer copies.Done(); _, _ = io.Copy(r.channel.Stderr(), stderr) }()
		copies.Wait()
	}, nil
}

// finish tells how the program ended, after all that it has printed.
func (r *running) finish(output func()) {
	output()
	_ = r.command.Wait()
	if r.terminal != nil {
		r.terminal.close()
	}
	status := r.command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		_, _ = r.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name     string
			Core     bool
			Text     string
			Language string
		}{Name: signalName(status.Signal())}))
	} else {
		code := struct{ Code uint32 }{uint32(status.ExitStatus())}
		_, _ = r.channel.SendRequest("exit-status", false, ssh.Marshal(code))
	}
	_ = r.channel.Close()
}

func signalName(signal syscall.Signal) string {
	switch signal {
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGKILL:
		return "KILL"
	case syscall.SIGTERM:
		return "TERM"
	default:
		return fmt.Sprintf("%d@example.com", int(signal))
	}
}
