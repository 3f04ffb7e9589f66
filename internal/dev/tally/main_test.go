package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const (
		pass   = `{"Action":"output","Package":"p","Test":"A","Output":"noise\n"}` + "\n" + `{"Action":"pass","Package":"p","Test":"A"}` + "\n"
		fail   = `{"Action":"output","Package":"p","Test":"B","Output":"b_test.go:1: wrong\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"B"}` + "\n"
		skip   = `{"Action":"skip","Package":"p","Test":"C"}` + "\n"
		end    = `{"Action":"pass","Package":"p","Elapsed":0.5}` + "\n"
		endBad = `{"Action":"fail","Package":"p","Elapsed":0.5}` + "\n"
		empty  = `{"Action":"skip","Package":"q"}` + "\n"
		broken = `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}` + "\n" + endBad
	)
	tests := []struct {
		name, in string
		good     bool
		want     []string // parts of what is printed
		not      string   // and one that must not be
	}{
		{"all pass", pass + end + empty, true, []string{"\n1 passed, 0 failed\n", "ok   p", "-    q"}, "noise"},
		{"one fails", pass + fail + endBad, false, []string{"\n1 passed, 1 failed\n", "b_test.go:1: wrong", "failed: p"}, "noise"},
		{"one skipped", pass + skip + end, false, []string{"\n1 passed, 1 failed\n", "skipped, which counts as failed: p C"}, "noise"},
		{"does not build", broken, false, []string{"\n0 passed, 1 failed\n", "syntax error"}, "ok "},
		{"nothing ran", empty, false, []string{"no test ran\n0 passed, 1 failed\n"}, "ok "},
		{"plain text", "go: cannot find module\n", false, []string{"go: cannot find module\n", "no test ran"}, "ok "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := tally(strings.NewReader(tt.in), &out)
			if err != nil {
				t.Fatal(err)
			}
			if good := r.report(&out); good != tt.good {
				t.Errorf("good = %v, want %v", good, tt.good)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("missing %q in:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), tt.not) {
				t.Errorf("unwanted %q in:\n%s", tt.not, out.String())
			}
		})
	}
}
