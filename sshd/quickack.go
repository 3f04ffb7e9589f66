package sshd

import (
	"net"

	"golang.org/x/sys/unix"
)

// acknowledge tells the client at once that its bytes have come. Until it is
// logged in, OpenSSH's twice holds back a small packet until the one before it is
// acknowledged, and the kernel waits 40 ms with that when nothing else is to be
// sent. The kernel forgets that it was told, so this is done after each read.
func acknowledge(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed
	}
	// Where it cannot be, the client only waits.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
}
