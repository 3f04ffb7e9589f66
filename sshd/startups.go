package sshd

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
)

func (m MaxStartups) check() error {
	if m == (MaxStartups{}) || m.Start < 0 {
		return nil
	}
	if m.Start < 1 || m.Full < m.Start || m.Rate < 1 || m.Rate > 100 {
		return fmt.Errorf("sshd: MaxStartups %d:%d:%d: want start from 1, rate 1 to 100, full not below start",
			m.Start, m.Rate, m.Full)
	}
	return nil
}

// chance returns the probability in percent that one of n waiting connections
// is dropped when another arrives; sshd computes it the same way.
func (m MaxStartups) chance(n int) int {
	switch {
	case m.Start < 0 || n < m.Start:
		return 0
	case n >= m.Full:
		return 100
	}
	return m.Rate + (100-m.Rate)*(n-m.Start)/(m.Full-m.Start)
}

// startups are the connections that have not authenticated yet.
type startups struct {
	limit  MaxStartups
	random func(n int) int // 0 to n-1

	mu      sync.Mutex
	waiting []*client // oldest first; at most limit.Full
}

func newStartups(limit MaxStartups) *startups {
	return &startups{limit: limit, random: rand.IntN}
}

// add lets c wait, and returns the connection that has to go for it, or nil.
func (s *startups) add(c *client) (victim *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.random(100) < s.limit.chance(len(s.waiting)) {
		victim = s.heaviest()
		s.drop(victim)
	}
	s.waiting = append(s.waiting, c)
	return victim
}

// done takes c out: it has authenticated, or closed.
func (s *startups) done(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(c)
}

func (s *startups) drop(c *client) {
	if i := slices.Index(s.waiting, c); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
}

// heaviest returns the oldest connection of the source that holds most.
func (s *startups) heaviest() *client {
	count := make(map[string]int)
	for _, c := range s.waiting {
		count[c.source]++
	}
	return slices.MaxFunc(s.waiting, func(a, b *client) int {
		return count[a.source] - count[b.source]
	})
}

// sourceOf returns what counts as one address: an IPv4 address, an IPv6 /64,
// for which one household suffices, or whatever else addr says.
func sourceOf(addr net.Addr) string {
	ip := ipOf(addr)
	if !ip.Is6() {
		if ip.IsValid() {
			return ip.String()
		}
		return addr.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

// ipOf returns addr's IP address, an IPv4 one in its own form even where it
// came over an IPv6 socket; invalid where addr has none.
func ipOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
