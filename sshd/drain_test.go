package sshd

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"
)

func TestShutdownLetsSessionsFinish(t *testing.T) {
	d := openDoor(t, nil)
	cmd := d.ssh("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	_, _ = stdin.Write([]byte("before\n"))
	if line, err := lines.ReadString('\n'); line != "before\n" {
		t.Fatalf("%q, %v", line, err)
	}
	idle := d.mustDial()
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ended <- d.Shutdown(ctx)
	}()

	_ = idle.Wait() // an idle connection is closed at once
	eventually(t, "nobody listens", func() bool {
		conn, err := net.Dial("tcp", d.addr())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatalf("did not wait for the session: %v", err)
	default:
	}
	_, _ = stdin.Write([]byte("meanwhile\n"))
	if line, err := lines.ReadString('\n'); line != "meanwhile\n" {
		t.Errorf("%q, %v", line, err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the session ended with %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestNoSessionBeginsDuringShutdown(t *testing.T) {
	d := openDoor(t, nil)
	client := d.mustDial()
	busy, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := busy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := busy.Start("cat"); err != nil {
		t.Fatal(err)
	}
	d.beginDrain()
	late, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Run("echo"); err == nil {
		t.Error("a late command ran")
	}
	stdin.Close()
	if err := busy.Wait(); err != nil {
		t.Errorf("the running one: %v", err)
	}
	_ = client.Wait() // the server closes it when nothing runs any more
}

func TestRemovingAKeyEndsItsConnections(t *testing.T) {
	d := openDoor(t, nil)
	stays := newKey(t)
	writeFile(t, d.keys, d.user.public()+"\n"+stays.public()+"\n")
	gone := d.mustDial()
	other := newKeyClient(t, d, stays)
	session, err := gone.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("wait"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.keys, stays.public()+"\n")
	_ = gone.Wait()
	if got := runExec(t, other, "exit 4"); got.status != 4 {
		t.Errorf("the other key's connection: %+v", got)
	}
	// Other rights, too, are not those the connection came in with.
	writeFile(t, d.keys, `command="less" `+stays.public()+"\n")
	_ = other.Wait()
}
