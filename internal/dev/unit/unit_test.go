package unit

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A test binary started with this variable set plays the daemon.
const role = "UNIT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "echo":
		echo()
	case "fail":
		io.WriteString(os.Stdout, "no such key\n")
		os.Exit(3)
	case "mute":
		syscall.Pause()
	}
}

// echo answers each connection on the passed socket with its name and pid check.
func echo() {
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		panic(err)
	}
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, "STATUS=up\nREADY=1\n")
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, os.Getenv("LISTEN_FDNAMES"))
		c.Close()
	}
}

func daemon(t *testing.T, as string, log io.Writer) *Unit {
	t.Helper()
	s, err := Listen("ssh", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u := &Unit{Path: exe, Env: append(os.Environ(), role+"="+as), Sockets: []*Socket{s}, Log: log}
	t.Cleanup(func() { u.Kill(); s.Close() })
	return u
}

func TestSocketOutlivesDaemon(t *testing.T) {
	u := daemon(t, "echo", io.Discard)
	for range 2 { // as across a restart
		if err := u.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", u.Sockets[0].Addr)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(c); string(b) != "ssh" {
			t.Errorf("LISTEN_FDNAMES = %q, want ssh", b)
		}
		u.Kill()
		if u.Running() || u.PID() != 0 {
			t.Error("still running after Kill")
		}
	}
}

func TestStartTellsWhyNot(t *testing.T) {
	var log bytes.Buffer
	u := daemon(t, "fail", &log)
	err := u.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Start = %v, want exit status 3", err)
	}
	if !strings.Contains(log.String(), "no such key") {
		t.Errorf("log = %q", log.String())
	}
	u = daemon(t, "mute", io.Discard)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := u.Start(ctx); err == nil || u.Running() {
		t.Errorf("Start = %v, running %v; want an error and nothing left", err, u.Running())
	}
}
