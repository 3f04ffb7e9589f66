package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// contest is one thing to do with a file, here and at OpenSSH's.
type contest struct {
	name, theirs string
	serene, sshd func(ctx context.Context, file string) error

	took [2][]time.Duration // serene's, sshd's
}

func contests(s *site) []*contest {
	return []*contest{
		{name: "ssh push", theirs: "ssh 'cat >/dev/null'", serene: s.push, sshd: s.sink},
		{name: "scp to", theirs: "scp to", serene: s.scpTo, sshd: s.scp},
		{name: "ssh pull", theirs: "ssh cat", serene: s.pull, sshd: s.cat},
	}
}

// transfers times the same large package to and from serene, which reads and
// checks all of it and publishes it, and to and from a real OpenSSH server, which
// only moves bytes.
func transfers(ctx context.Context, o options) error {
	s, err := newSite(ctx, o.bin, "")
	if err != nil {
		return err
	}
	defer s.close()
	sshd, err := s.ssh.StartSshd(ctx, s.public)
	if err != nil {
		return err
	}
	defer sshd.Stop()
	if err := s.ssh.AddHost("sshd", sshd.Addr, "", s.identity); err != nil {
		return err
	}
	all := contests(s)
	for i := range o.rounds {
		if err := s.round(ctx, i, o.mib, all); err != nil {
			return err
		}
	}
	peak, err := s.peakMemory()
	if err != nil {
		return err
	}
	for _, c := range all {
		ours, theirs := median(c.took[0]), median(c.took[1])
		fmt.Printf("median   %-9s %s   OpenSSH, %-20s %s   ratio %.2f\n", c.name, seconds(ours), c.theirs, seconds(theirs), ours.Seconds()/theirs.Seconds())
	}
	fmt.Println("         (1.00: as fast as OpenSSH; less: faster)")
	fmt.Printf("serene-receive peak memory  %.1f MiB resident\n", float64(peak)/(1<<20))
	return nil
}

// round does everything once. What is uploaded is new each time.
func (s *site) round(ctx context.Context, i, mib int, all []*contest) error {
	var file string
	for n, c := range all {
		if n < 2 { // uploads; the download is of the last
			if file != "" {
				os.Remove(file)
			}
			var err error
			if file, err = s.makePackage(ctx, 2*i+n+1, mib); err != nil {
				return err
			}
		}
		for who, do := range []func(context.Context, string) error{c.serene, c.sshd} {
			took, err := timed(func() error { return do(ctx, file) })
			if err != nil {
				return err
			}
			c.took[who] = append(c.took[who], took)
		}
		fmt.Printf("round %d  %d MiB  %-9s %s   OpenSSH %s\n", i+1, mib, c.name, seconds(c.took[0][i]), seconds(c.took[1][i]))
	}
	return os.Remove(file)
}

func (s *site) push(ctx context.Context, file string) error {
	return s.upload(ctx, file, "serene", "push", filepath.Base(file))
}

// sink is an upload to OpenSSH's server that is thrown away there.
func (s *site) sink(ctx context.Context, file string) error {
	return s.upload(ctx, file, "sshd", "cat >/dev/null")
}

func (s *site) upload(ctx context.Context, file, host string, words ...string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := s.ssh.Command(ctx, host, words...)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", host, err, out)
	}
	return nil
}

// pull and cat are downloads that are thrown away here.

func (s *site) pull(ctx context.Context, file string) error {
	return s.ssh.Command(ctx, "serene", "pull", "--path", "bench/x86_64/"+filepath.Base(file)).Run()
}

func (s *site) cat(ctx context.Context, file string) error {
	return s.ssh.Command(ctx, "sshd", "cat", file).Run()
}

func (s *site) scp(ctx context.Context, file string) error {
	to := filepath.Join(s.dir, "copied")
	defer os.Remove(to)
	return s.scpFile(ctx, file, "sshd:"+to)
}

func (s *site) scpTo(ctx context.Context, file string) error {
	return s.scpFile(ctx, file, "serene:/bench/")
}

func (s *site) scpFile(ctx context.Context, file, to string) error {
	out, err := exec.CommandContext(ctx, "scp", "-q", "-F", s.ssh.Config(), file, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("scp: %w: %s", err, out)
	}
	return nil
}

// peakMemory is the most that serene-receive ever had in memory, in bytes.
func (s *site) peakMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.receive.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/%d/status", s.receive.PID())
}
