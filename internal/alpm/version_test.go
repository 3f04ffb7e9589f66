package alpm_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"serene/internal/alpm"
)

// Rows of pacman's vercmptest, and more, each seen with the real vercmp.
func TestVersionCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.5.0", "1.5.0", 0}, {"1.5.1", "1.5", 1}, {"1.5.0-1", "1.5.0-2", -1},
		{"1.5", "1.5-1", 0}, {"1.5b", "1.5", -1}, {"1.5b", "1.5.1", -1},
		{"1.0a", "1.0alpha", -1}, {"1.0alpha", "1.0b", -1}, {"1.0b", "1.0beta", -1},
		{"1.0beta", "1.0rc", -1}, {"1.0rc", "1.0", -1}, {"1.5.a", "1.5", 1},
		{"1.5.b", "1.5.a", 1}, {"1.5.1", "1.5.b", 1}, {"1.5-1", "1.5.b", -1},
		{"2.0", "2_0", 0}, {"2.0_a", "2_0.a", 0}, {"2.0a", "2.0.a", -1},
		{"2___a", "2_a", 1}, {"0:1.0", "1.0", 0}, {"1:1.0", "1.1", 1},
		{"1:1.0", "0:1.0-1", 1}, {"1.0", "1.0.", -1}, {"1.0.", "1.0.0", -1},
		{"1..0", "1.0", 1}, {"1.0", "1.00", 0}, {"1.001", "1.1", 0},
		{"1.010", "1.10", 0}, {"20240101", "9", 1}, {"18446744073709551617", "18446744073709551616", 1},
		{"1.0~rc1", "1.0", 1}, {"1.0~rc1", "1.0.rc1", 0}, {"1.0~rc1", "1.0rc1", 1},
		{"1.0+r3", "1.0", 1}, {"1.0+r3", "1.0.r3", 0}, {"1.0^1", "1.0", 1},
		{"1.2.r10.gabcdef", "1.2.r9.gffffff", 1}, {"r10.abc", "r9.abc", 1}, {"1.0-1", "1.0-1.1", -1},
		{"1.0-1.1", "1.0-2", -1}, {"1.0-10", "1.0-9", 1}, {":1.0", "0:1.0", 0},
		{"a:1.0", "1.0", -1}, {"1.0-rc-1", "1.0-1", 1}, {"A", "a", -1},
		{"001", "1", 0}, {"0", "00", 0}, {"1", "1a", 1},
		{"1a", "1.a", -1}, {"a", "1", -1}, {".1", "1", 1},
		{"_", ".", 0}, {"1-", "1", 0}, {"1.0-0", "1.0", 0},
	} {
		a, b := alpm.Version(c.a), alpm.Version(c.b)
		if got := a.Compare(b); got != c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := b.Compare(a); got != -c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

// TestVersionCompareVercmp asks the real vercmp about versions made of the
// pieces that its branches look at.
func TestVersionCompareVercmp(t *testing.T) {
	const pairs = 1500
	r := rand.New(rand.NewPCG(1, 2))
	var args []string
	for range pairs {
		a := randomVersion(r)
		b := randomVersion(r)
		if r.IntN(2) == 0 {
			b = mutate(r, a)
		}
		args = append(args, a, b)
	}
	out := strings.Fields(run(t, t.TempDir(), strings.Join(args, "\x00")+"\x00", "xargs", "-0", "-n2", "vercmp"))
	if len(out) != pairs {
		t.Fatalf("vercmp answered %d times, want %d", len(out), pairs)
	}
	for i, answer := range out {
		a, b := args[2*i], args[2*i+1]
		want := map[string]int{"-1": -1, "0": 0, "1": 1}[answer]
		if got := alpm.Version(a).Compare(alpm.Version(b)); got != want {
			t.Errorf("Compare(%q, %q) = %d, vercmp says %s", a, b, got, answer)
		}
	}
}

var versionPieces = []string{"0", "1", "01", "2", "10", "a", "b", "rc", "beta", "Z", ".", ".", "_", "+", "~", "^", "-", "-", ":", "..", "é"}

func randomVersion(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(versionPieces[r.IntN(10)]) // not a hyphen: vercmp would take an option
	for range r.IntN(8) {
		b.WriteString(versionPieces[r.IntN(len(versionPieces))])
	}
	return b.String()
}

func mutate(r *rand.Rand, s string) string {
	i := 1 + r.IntN(len(s))
	return s[:i] + versionPieces[r.IntN(len(versionPieces))] + s[min(i+r.IntN(3), len(s)):]
}

func TestVersionCheck(t *testing.T) {
	for _, good := range []string{"1-1", "1:1.0-1", "10:1-1", "1.0+r3.gabc-1.1", "1.0~rc1^2_3-10", "A-0"} {
		if err := alpm.Version(good).Check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "1", "-1", "1-", "1-a", "1-1.", "1-.1", "1-1.1.1", "a:1-1", ":1-1", "0:1-1", "00:1-1", "1:2:3-1", "1-2-3", "1/2-1", "1 2-1",
		"1<2-1", "1?-1", "1#-1", "1%2-1", "1é-1", "1\x00-1", "1-1\n", "1-1 ",
	} {
		wantFault(t, alpm.Version(bad).Check(), alpm.KindVersion)
	}
}

func FuzzVersion(f *testing.F) {
	f.Add("1:2.0-1", "1:2.0.a-1", "2.0")
	f.Add("1.0rc1-1", "1.0-1", "1.0")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		x, y, z := alpm.Version(a), alpm.Version(b), alpm.Version(c)
		if x.Compare(x) != 0 || x.Compare(y) != -y.Compare(x) {
			t.Fatalf("%q and %q: not antisymmetric", a, b)
		}
		if x.Check() != nil || y.Check() != nil || z.Check() != nil {
			return
		}
		if x.Compare(y) <= 0 && y.Compare(z) <= 0 && x.Compare(z) > 0 {
			t.Fatalf("%q, %q, %q: not transitive", a, b, c)
		}
	})
}
