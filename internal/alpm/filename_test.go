package alpm_test

import (
	"path"
	"strings"
	"testing"

	"serene/internal/alpm"
)

func TestParseFileName(t *testing.T) {
	for name, want := range map[string]alpm.FileName{
		"foo-1-1-any.pkg.tar.zst":                         {Name: "foo", Version: "1-1", Arch: "any", Ext: ".pkg.tar.zst"},
		"weird-names-1:2.0+r3-1.1-x86_64.pkg.tar.xz":      {Name: "weird-names", Version: "1:2.0+r3-1.1", Arch: "x86_64", Ext: ".pkg.tar.xz"},
		"lib32-gcc-libs-14.1.1-1-x86_64.pkg.tar":          {Name: "lib32-gcc-libs", Version: "14.1.1-1", Arch: "x86_64", Ext: ".pkg.tar"},
		"a.pkg.tar.gz-1-1-any.pkg.tar.gz":                 {Name: "a.pkg.tar.gz", Version: "1-1", Arch: "any", Ext: ".pkg.tar.gz"},
		"@scope_x+y-0-0-i686.pkg.tar.bz2":                 {Name: "@scope_x+y", Version: "0-0", Arch: "i686", Ext: ".pkg.tar.bz2"},
		strings.Repeat("n", 226) + "-1-1-any.pkg.tar.zst": {Name: strings.Repeat("n", 226), Version: "1-1", Arch: "any", Ext: ".pkg.tar.zst"},
	} {
		got, err := alpm.ParseFileName(name)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got.String() != name {
			t.Errorf("%s: back to %s", name, got)
		}
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	for name, kind := range map[string]string{
		"":                                                alpm.KindFileName,
		"foo":                                             alpm.KindFileName,
		".pkg.tar.zst":                                    alpm.KindFileName,
		"foo-1-1-any.pkg.tar.lz4":                         alpm.KindFileName,
		"foo-1-1-any.pkg.tar.zst.sig":                     alpm.KindFileName,
		"foo-1-1-any.pkg.tar.ZST":                         alpm.KindFileName,
		"foo-1-any.pkg.tar.zst":                           alpm.KindFileName,
		"foo-1-1-.pkg.tar.zst":                            alpm.KindFileName,
		"foo-1-1-x86-64.pkg.tar.zst":                      alpm.KindVersion,
		"foo-1-1-any\n.pkg.tar.zst":                       alpm.KindFileName,
		"-1-1-any.pkg.tar.zst":                            alpm.KindName,
		"-foo-1-1-any.pkg.tar.zst":                        alpm.KindName,
		".foo-1-1-any.pkg.tar.zst":                        alpm.KindName,
		"../foo-1-1-any.pkg.tar.zst":                      alpm.KindName,
		"f/oo-1-1-any.pkg.tar.zst":                        alpm.KindName,
		"f oo-1-1-any.pkg.tar.zst":                        alpm.KindName,
		"föö-1-1-any.pkg.tar.zst":                         alpm.KindName,
		"foo-1/2-1-any.pkg.tar.zst":                       alpm.KindVersion,
		"foo-x:1-1-any.pkg.tar.zst":                       alpm.KindVersion,
		"foo-0:1-1-any.pkg.tar.zst":                       alpm.KindVersion,
		"foo-1-r1-any.pkg.tar.zst":                        alpm.KindVersion,
		"foo-1\x00-1-any.pkg.tar.zst":                     alpm.KindVersion,
		"foo-1-1-\x1b[31m.pkg.tar.zst":                    alpm.KindFileName,
		strings.Repeat("n", 227) + "-1-1-any.pkg.tar.zst": alpm.KindFileName,
	} {
		_, err := alpm.ParseFileName(name)
		wantFault(t, err, kind)
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"foo-1-1-any.pkg.tar.zst", "a-b-1:2.0+r3-1.1-x86_64.pkg.tar", "-.pkg.tar.xz", "../x-1-1-any.pkg.tar.gz"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := alpm.ParseFileName(name)
		if err != nil {
			wantAnyFault(t, err)
			return
		}
		if n.String() != name {
			t.Fatalf("%q: back to %q", name, n)
		}
		if path.Base(path.Clean("/"+name)) != name || name[0] == '.' || name[0] == '-' || len(name) > 246 {
			t.Fatalf("%q: not one safe path element", name)
		}
		if err := alpm.ValidName(n.Name); err != nil {
			t.Fatal(err)
		}
	})
}
