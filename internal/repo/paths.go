package repo

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
)

// owner is a path, by its hash, and the member of a group that owns it.
type owner struct {
	hash   uint64
	member int32
}

// index finds the owner of a path among the packages of one group. It is made
// when it is first asked for; a group never changes.
type index struct {
	once   sync.Once
	owners []owner // by hash
	err    error
}

var pathSeed = maphash.MakeSeed()

func hashPath(line string) uint64 { return maphash.String(pathSeed, line) }

// owned reports whether a line of %FILES% is a path that one package owns:
// directories are everybody's.
func owned(line string) bool {
	return line != "%FILES%\n" && !strings.HasSuffix(line, "/\n")
}

// owners lists the members of g that own one of hashes, which are sorted.
func (g *group) owners(hashes []uint64) ([]int32, error) {
	g.index.once.Do(func() { g.index.owners, g.index.err = g.indexPaths() })
	if g.index.err != nil {
		return nil, g.index.err
	}
	var found []int32
	for _, h := range hashes {
		i, _ := slices.BinarySearchFunc(g.index.owners, h, func(o owner, h uint64) int { return cmp.Compare(o.hash, h) })
		for ; i < len(g.index.owners) && g.index.owners[i].hash == h; i++ {
			if m := g.index.owners[i].member; !slices.Contains(found, m) {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// warm makes the indexes of groups, one after another beside whatever else goes
// on, so that the first refresh need not. One that fails tells who asks for it.
func warm(ctx context.Context, groups []*group) {
	for _, g := range groups {
		if ctx.Err() != nil {
			return
		}
		g.owners(nil)
	}
}

func (g *group) indexPaths() ([]owner, error) {
	members, err := g.members(nil)
	if err != nil {
		return nil, err
	}
	var all []owner
	for i, m := range members {
		for file := range strings.Lines(string(m.files)) {
			if owned(file) {
				all = append(all, owner{hashPath(file), int32(i)})
			}
		}
	}
	slices.SortFunc(all, func(a, b owner) int { return cmp.Compare(a.hash, b.hash) })
	return all, nil
}
