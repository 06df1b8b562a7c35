package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal is both ends of a pseudo-terminal (pty(7)).
type terminal struct {
	master, slave *os.File
}

func openTerminal() (*terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, err
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		master.Close()
		return nil, err
	}
	return &terminal{master, slave}, nil
}

func (t *terminal) resize(size windowChange) error {
	return unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{
		Row: uint16(size.Rows),
		Col: uint16(size.Columns),
	})
}

// close may come twice, which does no harm.
func (t *terminal) close() {
	t.slave.Close()
	t.master.Close()
}
