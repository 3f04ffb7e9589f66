package receive

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progress reads what a client sends and tells the client every few seconds
// how much has arrived.
type progress struct {
	r    io.Reader
	n    atomic.Int64
	done chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

// startProgress reads r and writes a line to w each time every passes, until
// it is stopped. What is over sooner is silent.
func startProgress(r io.Reader, w io.Writer, every time.Duration) *progress {
	p := &progress{r: r, done: make(chan struct{})}
	p.wg.Go(func() { p.tell(w, every) })
	return p
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n.Add(int64(n))
	return n, err
}

// stop ends the lines. It may be called twice.
func (p *progress) stop() {
	p.once.Do(func() { close(p.done) })
	p.wg.Wait()
}

func (p *progress) tell(w io.Writer, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before int64
	for {
		select {
		case <-tick.C:
			n := p.n.Load()
			rate := int64(float64(n-before) / every.Seconds())
			before = n
			fmt.Fprintf(w, "received %s, %s/s\n", formatBytes(n), formatBytes(rate))
		case <-p.done:
			return
		}
	}
}

// formatBytes writes a size in binary units: "512 B", "1.5 MiB".
func formatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n), -1
	for size >= 1<<10 && unit < len(binaryUnits)-1 {
		size /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", size, binaryUnits[unit])
}

const binaryUnits = "KMGTPE"
