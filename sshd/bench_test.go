package sshd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"os/user"
	"runtime/debug"
	"testing"
)

// benchSize is what one operation moves, in bytes.
const benchSize = 512 << 20

// BenchmarkUpload compares `ssh host command <file` here with the same to
// OpenSSH's sshd; BenchmarkDownload the other way. The client is the stock
// ssh, which negotiates what it likes best with either.
func BenchmarkUpload(b *testing.B) {
	for name, ssh := range doors(b) {
		b.Run(name, func(b *testing.B) {
			transfer(b, func() *exec.Cmd {
				cmd := ssh("cat >/dev/null")
				cmd.Stdin = io.LimitReader(zeros{}, benchSize)
				return cmd
			})
		})
	}
}

func BenchmarkDownload(b *testing.B) {
	for name, ssh := range doors(b) {
		b.Run(name, func(b *testing.B) {
			transfer(b, func() *exec.Cmd { return ssh(fmt.Sprintf("head -c %d /dev/zero", benchSize)) })
		})
	}
}

// BenchmarkCommand is a connection with a command that does nothing.
func BenchmarkCommand(b *testing.B) {
	for name, ssh := range doors(b) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ssh("head -c 0 /dev/zero").Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func transfer(b *testing.B, prepare func() *exec.Cmd) {
	b.SetBytes(benchSize)
	for b.Loop() {
		if err := prepare().Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// doors returns how to run a command at either server.
func doors(b *testing.B) map[string]func(command string) *exec.Cmd {
	b.Helper()
	defaults := debug.SetGCPercent(400) // as the daemon does
	b.Cleanup(func() { debug.SetGCPercent(defaults) })
	d := openDoor(b, func(c *Config) { c.Exec = pump })
	peer := startOpenSSH(b)
	writeFile(b, peer.keys, d.user.public())
	me, err := user.Current()
	if err != nil {
		b.Fatal(err)
	}
	identity := d.user.file(b)
	_, port, _ := net.SplitHostPort(peer.listener.Addr().String())
	return map[string]func(string) *exec.Cmd{
		"serene": func(command string) *exec.Cmd { return d.sshAs(identity, command) },
		"openssh": func(command string) *exec.Cmd {
			return exec.Command("ssh", "-F", "none", "-p", port, "-l", me.Username, "-i", identity, "-o", "BatchMode=yes",
				"-o", "NoHostAuthenticationForLocalhost=yes", "127.0.0.1", command)
		},
	}
}

// pump does what the two commands above do.
func pump(_ context.Context, s *Session) int {
	var size int64
	buffer := make([]byte, 32<<10)
	if _, err := fmt.Sscanf(s.Command, "head -c %d", &size); err == nil {
		_, _ = io.CopyBuffer(onlyWriter{s.Stdout}, io.LimitReader(zeros{}, size), buffer)
		return 0
	}
	_, _ = io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{s.Stdin}, buffer)
	return 0
}
