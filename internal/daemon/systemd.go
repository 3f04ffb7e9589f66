package daemon

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// notifier is the address of sd_notify(3)'s socket: a path, or "@" and a name
// in the abstract namespace; "" when nobody listens.
type notifier string

// takeNotifier takes the address out of the environment.
func takeNotifier() notifier {
	addr := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	return notifier(addr)
}

// send delivers one datagram of VAR=VALUE lines.
func (n notifier) send(state string) error {
	if n == "" {
		return nil
	}
	// The package net reads a leading "@" as the abstract namespace, too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: string(n), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// monotonicMicroseconds is the clock systemd orders reloads by.
func monotonicMicroseconds() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return "0" // cannot fail for this clock; zero is "long ago"
	}
	return strconv.FormatInt(ts.Nano()/1000, 10)
}

// firstSocket is SD_LISTEN_FDS_START: passed descriptors follow the three
// standard ones.
const firstSocket = 3

// takeSockets returns the sockets passed by sd_listen_fds(3)'s protocol, by
// name, and clears it from the environment. LISTEN_PID says whom they are for:
// variables a parent forgot to clear are not ours.
func takeSockets() (map[string]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, key := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(key)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 64 {
		return nil, fmt.Errorf("LISTEN_FDS = %q: accepts a number of sockets from 0 to 64", count)
	}
	return openSockets(n, strings.Split(names, ":"))
}

// openSockets wraps n descriptors. Each must have its own name, as the name is
// how a daemon with several listeners tells them apart.
func openSockets(n int, names []string) (map[string]*os.File, error) {
	sockets := map[string]*os.File{}
	for i := range n {
		if i >= len(names) || sockets[names[i]] != nil || names[i] == "" {
			return nil, fmt.Errorf("LISTEN_FDNAMES = %q: accepts a name of its own for each of %d sockets (FileDescriptorName=)",
				strings.Join(names, ":"), n)
		}
		fd := firstSocket + i
		unix.CloseOnExec(fd)
		sockets[names[i]] = os.NewFile(uintptr(fd), names[i])
	}
	return sockets, nil
}
