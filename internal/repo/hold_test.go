package repo

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// The file of what is held follows from the journal: damaged or gone, it lets
// nothing in that is held and keeps nothing out that is not, and the next push
// writes it again.
func TestHoldsDamaged(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"damaged": func(file string) error { return os.WriteFile(file, []byte(`{"foo":`), 0o660) },
		"gone":    os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRepo(t)
			var log bytes.Buffer
			r.w.log = slog.New(slog.NewTextHandler(&log, nil))
			r.push(build("foo", "1-1"))
			r.ask(TxOptions{}, func(tx *Tx) { tx.Hold("it eats data", "foo") })
			file := r.store.holdsFile("serene")
			want := mustRead(t, file)
			if err := damage(file); err != nil {
				t.Fatal(err)
			}
			found, err := r.store.Doctor(t.Context())
			if err != nil || len(found) != 1 || found[0].Repair != repairHolds || strings.Contains(found[0].What, r.dir) {
				t.Errorf("doctor: %+v, %v", found, err)
			}
			if o := r.push(build("foo", "2-1")); o.Class != "conflict" || !strings.Contains(o.Error, "it eats data") {
				t.Errorf("a held package got in: %+v", o)
			}
			wantLines(t, r.push(build("bar", "1-1")), "published serene/x86_64 bar 1-1 gen 3")
			if got := mustRead(t, file); !bytes.Equal(got, want) {
				t.Errorf("written again as %s", got)
			}
			if said := strings.Count(log.String(), "holds.json is damaged"); name == "damaged" && said != 1 {
				t.Errorf("said %d times:\n%s", said, log.String())
			}
		})
	}
}

// Without the journal, too, nobody can tell: what is pushed is refused, and a
// restart begins anew.
func TestHoldsAndJournalDamaged(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	for _, file := range []string{r.store.holdsFile("serene"), r.store.journal("serene")} {
		if err := os.WriteFile(file, []byte("junk\n"), 0o660); err != nil {
			t.Fatal(err)
		}
	}
	if o := r.push(build("foo", "2-1")); o.Class != "busy" || !strings.Contains(o.Error, "holds.json") {
		t.Errorf("got %+v", o)
	}
	r.open()
	wantLines(t, r.push(build("foo", "2-1")), "published serene/x86_64 foo 2-1 gen 4")
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
