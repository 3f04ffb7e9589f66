package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent trades memory for speed: every packet of an upload is an
	// allocation, and the default of 100 collects them too eagerly.
	gcPercent = 400

	// floatingMemory is what may be garbage before gcPercent no longer counts.
	floatingMemory = 48 << 20

	tuneEvery = 5 * time.Second
)

// tuneMemory keeps the garbage collector lazy while little memory is in use,
// whatever happens to be alive: a fixed memory limit would make it run without
// pause once large databases are loaded. GOGC or GOMEMLIMIT in the environment
// turn it off.
func tuneMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	for {
		metrics.Read(live)
		debug.SetMemoryLimit(floatingMemory + 2*int64(live[0].Value.Uint64()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
