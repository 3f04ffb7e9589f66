// Command bench times transfers the way a person would feel them: the same large
// package to and from serene, which reads and checks all of it and publishes it,
// and to and from a real OpenSSH server, which only moves bytes. All on loopback
// with the stock clients, in the same run, one after the other, several times
// over. It prints the times, their ratios, and the receiver's peak memory.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	mib := flag.Int("mib", 1024, "size of the package in MiB; its content does not compress")
	rounds := flag.Int("rounds", 3, "how often each is done")
	bin := flag.String("bin", "bin", "where the daemons are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, *bin, *mib, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

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

func bench(ctx context.Context, bin string, mib, rounds int) (err error) {
	s, err := newSite(ctx, bin)
	if err != nil {
		return err
	}
	defer s.close()
	all := contests(s)
	for i := range rounds {
		if err := s.round(ctx, i, mib, all); err != nil {
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

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
