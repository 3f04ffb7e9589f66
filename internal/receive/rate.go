package receive

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rate bounds how often something is done: N times in Per, at once or spread
// out. The zero Rate is no bound.
type Rate struct {
	N   int64
	Per time.Duration
}

// rateUnits are the units of a Rate, with their lengths.
var rateUnits = map[string]time.Duration{
	"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// maxRate keeps one interval of a Rate at a nanosecond or more.
const maxRate = 1e9

// ParseRate reads "60/h": a whole number above zero, and s, m, h or d.
func ParseRate(s string) (Rate, error) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 63)
	per, ok := rateUnits[unit]
	if err != nil || !ok || n == 0 || n > maxRate {
		return Rate{}, fmt.Errorf("--rate %q: accepts a number above zero per s, m, h or d, such as 60/h", s)
	}
	return Rate{int64(n), per}, nil
}

func (r Rate) String() string {
	for unit, per := range rateUnits {
		if per == r.Per {
			return fmt.Sprintf("%d/%s", r.N, unit)
		}
	}
	return ""
}

// next is a token bucket in one number, due: when a bucket that was full would
// be full again (the generic cell rate algorithm). It returns the due after
// one more use at now, or how long to wait for one.
func (r Rate) next(due, now time.Time) (after time.Time, wait time.Duration) {
	interval := r.Per / time.Duration(r.N)
	full := interval * time.Duration(r.N)
	if due.Before(now) {
		due = now
	}
	// A clock that was set back must not lock a key out for longer than it
	// takes to fill a bucket.
	if limit := now.Add(full); due.After(limit) {
		due = limit
	}
	if wait = due.Add(interval).Sub(now) - full; wait > 0 {
		return due, wait
	}
	return due.Add(interval), 0
}

// take uses one of the bucket kept in file and returns 0, or how long until it
// can. The bucket is a file so that every process agrees on it: behind OpenSSH
// each command is a process of its own.
func (r Rate) take(file string, now time.Time) (wait time.Duration, err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return 0, fmt.Errorf("lock %s: %w", file, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	// What does not parse counts as a full bucket: a file cut short by a crash.
	nanos, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	due, wait := r.next(time.Unix(0, nanos), now)
	if wait > 0 {
		return wait, nil
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%020d\n", due.UnixNano()), 0)
	return 0, err
}
