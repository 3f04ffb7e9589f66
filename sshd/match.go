package sshd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// fromList is the value of from=: any match of a negated element refuses, and
// without a match of another one nothing is admitted.
type fromList []fromElement

// fromElement is an address, a block of them, or a pattern with * and ?. The
// pattern is held against the address: as sshd does unless told otherwise
// (UseDNS), nobody is asked for the client's name, which the client controls.
type fromElement struct {
	negated bool
	block   netip.Prefix // invalid: pattern is used
	pattern string       // lower case
}

func parseFrom(s string) (fromList, error) {
	var list fromList
	for element := range strings.SplitSeq(s, ",") {
		text, negated := strings.CutPrefix(element, "!")
		e := fromElement{negated: negated, pattern: strings.ToLower(text)}
		var err error
		switch {
		case text == "":
			err = errors.New("empty element")
		case strings.Contains(text, "/"):
			e.block, err = parseBlock(text)
		default:
			e.block, err = parseAddress(text)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// parseBlock reads an address block. One with bits set behind its length is
// a mistake that sshd, too, answers by refusing everybody.
func parseBlock(text string) (netip.Prefix, error) {
	block, err := netip.ParsePrefix(text)
	if err != nil || block != block.Masked() {
		return block, fmt.Errorf("%.60q is not an address block", text)
	}
	return block, nil
}

// parseAddress reads an address; for a pattern or name it returns an invalid
// block. What looks like an address in a form only old C libraries know
// (127.1, 010.0.0.1) is an error: sshd would match it, and a negated one must
// not be passed over.
func parseAddress(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	last := text[strings.LastIndexByte(text, '.')+1:]
	numeric := last != "" && last[0] >= '0' && last[0] <= '9'
	if !strings.ContainsAny(text, "*?") && (numeric || strings.Contains(text, ":")) {
		return netip.Prefix{}, fmt.Errorf("%.60q is not an address", text)
	}
	return netip.Prefix{}, nil
}

func (l fromList) match(ip netip.Addr) bool {
	if !ip.IsValid() {
		return false
	}
	matched := false
	for _, e := range l {
		if !e.match(ip) {
			continue
		}
		if e.negated {
			return false
		}
		matched = true
	}
	return matched
}

func (e *fromElement) match(ip netip.Addr) bool {
	if e.block.IsValid() {
		return e.block.Contains(ip)
	}
	return matchPattern(e.pattern, ip.String())
}

// matchPattern reports whether s is as pattern says, in which * stands for
// any bytes and ? for one. It goes back only to the last *, so the time it
// takes is at most the product of the lengths.
func matchPattern(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
