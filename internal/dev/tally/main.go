// Command tally reads what `go test -json` writes on stdin and tells a person
// how it went: a line a package, the output of what failed, and at the end the
// totals alone on a line. It exits 1 when a test failed, when one was skipped,
// and when none ran at all: a test that did not run has shown nothing.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string // on build events, instead of Package
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// result is what a run of tests came to.
type result struct {
	passed, failed int
	skipped        []string // "package Test" of each
	broken         []string // packages that failed as a whole
}

func main() {
	r, err := tally(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	if !r.report(os.Stdout) {
		os.Exit(1)
	}
}

// tally reads events until r ends and prints progress to w. A line that is no
// event is passed on as it is: the go command says some things in plain text.
func tally(r io.Reader, w io.Writer) (*result, error) {
	t := &counter{w: w, output: map[string][]string{}}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				w.Write(line)
			} else {
				t.add(e)
			}
		}
		if err == io.EOF {
			return &t.result, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// counter holds the output of every test until it is known to be wanted.
type counter struct {
	result
	w      io.Writer
	output map[string][]string // by "package test"; test is empty for the package's own
}

func (c *counter) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		c.output[key] = append(c.output[key], e.Output)
	case "build-output":
		fmt.Fprint(c.w, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			c.endPackage(e, c.output[key])
		} else {
			c.endTest(e, key)
		}
		delete(c.output, key)
	}
}

func (c *counter) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped = append(c.skipped, key)
	case "fail":
		c.failed++
		fmt.Fprint(c.w, strings.Join(c.output[key], ""))
	}
}

// endPackage prints the package's line. Its own output is wanted only when it
// failed: a panic, a data race or a deadline is told there. A package without
// tests ends in "skip", which is no test skipped.
func (c *counter) endPackage(e event, output []string) {
	word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "-   "}[e.Action]
	if e.Action == "fail" {
		c.broken = append(c.broken, e.Package)
		fmt.Fprint(c.w, strings.Join(output, ""))
	}
	fmt.Fprintf(c.w, "%s %-32s %6.1fs\n", word, e.Package, e.Elapsed)
}

// report prints the end of the run and tells whether it was a good one.
func (r *result) report(w io.Writer) bool {
	for _, name := range r.skipped {
		fmt.Fprintln(w, "skipped, which counts as failed:", name)
	}
	for _, name := range r.broken {
		fmt.Fprintln(w, "failed:", name)
	}
	failed := r.failed + len(r.skipped)
	if failed == 0 && len(r.broken) > 0 {
		failed = len(r.broken) // did not build, or died outside any test
	}
	if r.passed == 0 && failed == 0 {
		fmt.Fprintln(w, "no test ran")
		failed = 1
	}
	fmt.Fprintf(w, "%d passed, %d failed\n", r.passed, failed)
	return failed == 0
}
