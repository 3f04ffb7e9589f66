package job

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestID(t *testing.T) {
	early, late := NewID(time.Unix(1_800_000_000, 0)), NewID(time.Unix(1_800_000_001, 0))
	if early >= late {
		t.Errorf("%s does not sort before %s", early, late)
	}
	for _, id := range []ID{early, late, "1ng1zm6-1150"} {
		if got, err := ParseID(string(id)); err != nil || got != id {
			t.Errorf("%s: %s, %v", id, got, err)
		}
	}
	for _, s := range []string{"", "yay", "../../../../etc", "1ng1zm6-115", "1ng1zm6-11500", "1ng1zm6-115i", "1NG1ZM6-1150", "1ng1zm6/1150", "1ng1zm6-1150\n"} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q is taken for an id", s)
		}
	}
}

func TestDir(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, b := NewID(time.Unix(1, 0)), NewID(time.Unix(2, 0))
	for i, id := range []ID{b, a} { // the times they were made at decide, not the names
		if err := d.Write(&Record{ID: id, Base: "yay", Created: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.List()
	if err != nil || len(all) != 2 || all[0].ID != b {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := d.Read("0000000-0000"); !errors.Is(err, ErrNotFound) {
		t.Errorf("read what is not there: %v", err)
	}
}

func TestAddSource(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := NewID(time.Now())
	if _, err := d.AddSource(id, strings.NewReader("12345678901"), 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	sum, err := d.AddSource(id, strings.NewReader("1234567890"), 10)
	if err != nil || sum != "c775e7b757ede630cd0aa1113bd102661ab38829ca52a6422ab782862f268646" {
		t.Errorf("%s, %v", sum, err)
	}
	if err := d.Sweep(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := d.Sweep(time.Now().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AddSource(id, strings.NewReader(""), 10); err != nil {
		t.Errorf("what nobody submitted was not swept: %v", err)
	}
}

// TestFollowLeavesNothing follows jobs that are over and one that is not there.
func TestFollowLeavesNothing(t *testing.T) {
	d, err := OpenHubDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := NewID(time.Now())
	if err := d.Write(&Record{ID: id, State: Done}); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Follow(t.Context(), id, io.Discard); err != nil || r.State != Done {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := d.Follow(t.Context(), "0000000-0000", io.Discard); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if len(d.bell.next) != 0 {
		t.Errorf("%v are waited for", d.bell.next)
	}
}

func TestAllows(t *testing.T) {
	r := &Record{Base: "foo", Facts: Facts{Packages: []Package{{"foo", "1-1", "x86_64"}}}}
	if err := r.Allows("foo", "foo", "1-1", "x86_64"); err != nil {
		t.Error(err)
	}
	for _, p := range [][4]string{
		{"bar", "foo", "1-1", "x86_64"}, {"foo", "bar", "1-1", "x86_64"}, {"foo", "foo", "1-2", "x86_64"}, {"foo", "foo", "1-1", "any"},
	} {
		if err := r.Allows(p[0], p[1], p[2], p[3]); err == nil {
			t.Errorf("%v is allowed", p)
		}
	}
}

func TestErrorsTravel(t *testing.T) {
	for name, class := range classes {
		if classOf(Refuse(class, "why")) != name {
			t.Errorf("%s does not come back", name)
		}
	}
	if classOf(errors.New("x")) != "" {
		t.Error("a class for an error without one")
	}
}
