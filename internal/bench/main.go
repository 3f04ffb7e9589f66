// Command bench times serene the way a person would feel it, on this machine, with
// the stock clients, beside what one would use without it, in the same run, one
// after the other, several times over.
//
//	bench [flags] [transfer|build]
//
// It prints the times and their ratios. Without a word it does both.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	bin    string
	mib    int
	rounds int
	builds int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "where the daemons are")
	flag.IntVar(&o.mib, "mib", 1024, "transfer: size of the package in MiB; its content does not compress")
	flag.IntVar(&o.rounds, "rounds", 3, "transfer: how often each is done")
	flag.IntVar(&o.builds, "builds", 11, "build: how often each is done")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options, words []string) error {
	if len(words) == 0 {
		words = []string{"transfer", "build"}
	}
	for _, word := range words {
		var err error
		switch word {
		case "transfer":
			err = transfers(ctx, o)
		case "build":
			err = builds(ctx, o)
		default:
			err = fmt.Errorf("%q: transfer or build", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func median[T cmp.Ordered](d []T) T {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
