// Command bench times an upload the way a person would feel it: the same large
// package by `ssh HOST push` to serene, which reads and checks all of it and
// publishes it, and by scp to a real OpenSSH server, which only writes it down.
// Both on loopback, in the same run, one after the other, several times over. It
// prints the times, their ratio, and the receiver's peak memory.
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

func bench(ctx context.Context, bin string, mib, rounds int) (err error) {
	s, err := newSite(ctx, bin)
	if err != nil {
		return err
	}
	defer s.close()
	var pushes, copies []time.Duration
	for i := range rounds {
		file, err := s.makePackage(ctx, i+1, mib)
		if err != nil {
			return err
		}
		copied, err := timed(func() error { return s.scp(ctx, file) })
		if err != nil {
			return err
		}
		pushed, err := timed(func() error { return s.push(ctx, file) })
		if err != nil {
			return err
		}
		copies, pushes = append(copies, copied), append(pushes, pushed)
		fmt.Printf("round %d  %d MiB  scp %s  push %s\n", i+1, mib, seconds(copied), seconds(pushed))
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	peak, err := s.peakMemory()
	if err != nil {
		return err
	}
	push, scp := median(pushes), median(copies)
	fmt.Printf("median   scp %s  push %s  ratio %.2f  (1.00: as fast as scp; less: faster)\n",
		seconds(scp), seconds(push), push.Seconds()/scp.Seconds())
	fmt.Printf("serene-receive peak memory  %.1f MiB resident\n", float64(peak)/(1<<20))
	return nil
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
