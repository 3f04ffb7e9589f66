// Package unit runs a daemon as systemd would: sockets are opened beforehand
// and passed to it, it says on NOTIFY_SOCKET when it is ready, it is reloaded
// with SIGHUP and stopped with SIGTERM. It owns the processes it started, by
// their ids, and never looks for one by its name.
package unit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Socket is a listening socket that outlives the daemon it is passed to, as a
// socket unit's does: while the daemon is down, connections wait in line.
type Socket struct {
	Name string // as in FileDescriptorName=
	Addr string // host:port it is bound to

	file *os.File
}

// Listen opens a TCP socket on addr ("127.0.0.1:0" for any free port).
func Listen(name, addr string) (*Socket, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close() // file is a duplicate
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	return &Socket{Name: name, Addr: l.Addr().String(), file: file}, nil
}

// Close frees the port.
func (s *Socket) Close() error { return s.file.Close() }

// Unit describes a daemon. The zero Unit cannot be started: Path is needed.
type Unit struct {
	Path    string    // the program
	Args    []string  // without the program's name
	Env     []string  // all of it, but for what Start adds
	Sockets []*Socket // passed in this order
	Log     io.Writer // its stdout and stderr

	cmd      *exec.Cmd
	told     bool          // to stop; a second SIGTERM would not wait for anything
	ready    chan struct{} // gets one for each READY=1
	stopping chan struct{} // and for each STOPPING=1
	exited   chan struct{} // closed once the process is gone
	err      error         // how it exited; read after exited
}

// pass hands the sockets to cmd, by way of the trampoline.
func (u *Unit) pass(cmd *exec.Cmd) {
	if len(u.Sockets) == 0 {
		return
	}
	var names []string
	for _, s := range u.Sockets {
		names = append(names, s.Name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.Env = append(cmd.Env,
		fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", trampoline, u.Path}, u.Args...)
}

// trampoline sets the variable that no parent can set: the process id that
// socket activation asks for is known only in the child.
const trampoline = `LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"`

// Start runs the daemon and returns once it says that it is ready. When ctx
// ends first, or the daemon exits first, that is the error and nothing is left
// running.
func (u *Unit) Start(ctx context.Context) error {
	if u.Running() {
		return fmt.Errorf("start %s: already running", u.name())
	}
	notify, err := listenNotify()
	if err != nil {
		return fmt.Errorf("start %s: %w", u.name(), err)
	}
	if err := u.spawn(notify); err != nil {
		notify.Close()
		return fmt.Errorf("start %s: %w", u.name(), err)
	}
	if err := u.await(ctx, u.ready); err != nil {
		u.Kill()
		return fmt.Errorf("start %s: %w", u.name(), err)
	}
	return nil
}

// Reload sends SIGHUP and returns once the daemon says that it is ready again.
func (u *Unit) Reload(ctx context.Context) error {
	if err := u.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := u.await(ctx, u.ready); err != nil {
		return fmt.Errorf("reload %s: %w", u.name(), err)
	}
	return nil
}

// Terminate sends SIGTERM and returns once the daemon says that it is stopping,
// which it may go on doing for a while.
func (u *Unit) Terminate(ctx context.Context) error {
	if err := u.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	u.told = true
	if err := u.await(ctx, u.stopping); err != nil {
		return fmt.Errorf("terminate %s: %w", u.name(), err)
	}
	return nil
}

func (u *Unit) await(ctx context.Context, told <-chan struct{}) error {
	select {
	case <-told:
		return nil
	case <-u.exited:
		return fmt.Errorf("it ended without saying so: %w", exitError(u.err))
	case <-ctx.Done():
		return fmt.Errorf("it says nothing: %w", ctx.Err())
	}
}

// spawn starts the process and what listens to it. notify is closed once the
// process is gone.
func (u *Unit) spawn(notify *net.UnixConn) error {
	cmd := exec.Command(u.Path, u.Args...)
	cmd.Env = append(append([]string{}, u.Env...), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	u.pass(cmd)
	cmd.Stdout, cmd.Stderr = u.Log, u.Log
	// A process group of its own: the Ctrl-C typed at whoever runs this is for
	// them, and they stop the daemons in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	u.cmd, u.told, u.exited = cmd, false, make(chan struct{})
	u.ready, u.stopping = make(chan struct{}, 1), make(chan struct{}, 1)
	go relay(notify, map[string]chan<- struct{}{"READY=1": u.ready, "STOPPING=1": u.stopping})
	go func() {
		u.err = cmd.Wait()
		notify.Close()
		close(u.exited)
	}()
	return nil
}

// Running tells whether the process is there.
func (u *Unit) Running() bool {
	if u.cmd == nil {
		return false
	}
	select {
	case <-u.exited:
		return false
	default:
		return true
	}
}

// PID returns the process id of the running daemon, or 0.
func (u *Unit) PID() int {
	if !u.Running() {
		return 0
	}
	return u.cmd.Process.Pid
}

// Signal sends sig to the running daemon.
func (u *Unit) Signal(sig os.Signal) error {
	if !u.Running() {
		return fmt.Errorf("signal %s: not running", u.name())
	}
	return u.cmd.Process.Signal(sig)
}

// Stop sends SIGTERM, unless Terminate did, and waits. A daemon that exits with
// another status than 0 is an error; one still there when ctx ends is killed,
// which is an error too. Stopping what does not run does nothing.
func (u *Unit) Stop(ctx context.Context) error {
	if !u.Running() {
		return nil
	}
	if !u.told {
		if err := u.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	select {
	case <-u.exited:
	case <-ctx.Done():
		u.Kill()
		return fmt.Errorf("stop %s: killed, as it did not end: %w", u.name(), ctx.Err())
	}
	if u.err != nil {
		return fmt.Errorf("stop %s: %w", u.name(), u.err)
	}
	return nil
}

// Kill ends the daemon at once, as a power cut would, and waits until it is gone.
func (u *Unit) Kill() {
	if u.Running() {
		u.cmd.Process.Kill()
		<-u.exited
	}
}

// Exited is closed when the process that was started last is gone.
func (u *Unit) Exited() <-chan struct{} { return u.exited }

func (u *Unit) name() string { return filepath.Base(u.Path) }

// exitError never is nil: a daemon that ends early has failed, even with status 0.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// listenNotify opens the socket on which daemons tell that they are ready. It
// has an abstract name chosen by the kernel: no path, so no limit on its length.
func listenNotify() (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
}

// relay passes what the daemon says on to those who wait, until conn is closed.
func relay(conn *net.UnixConn, told map[string]chan<- struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		for line := range strings.SplitSeq(string(buf[:n]), "\n") {
			select {
			case told[line] <- struct{}{}:
			default: // said already and not heard yet, or of no interest
			}
		}
	}
}
