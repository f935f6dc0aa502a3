package snapstore

import (
	"fmt"
	"strconv"
	"strings"
)

// The files of a store, whose names say what they are:
//
//	3-1200.snap        the snapshot of term 3, index 1200
//	3-1200.snap.new-*  one that is being written
//	3-1200-88123.part  one that is being received, of 88123 bytes in all
const (
	snapEnding = ".snap"
	newMark    = ".snap.new-"
	partEnding = ".part"
)

type id struct{ index, term uint64 }

func (i id) fileName() string { return fmt.Sprintf("%d-%d%s", i.term, i.index, snapEnding) }

func (i id) partName(size int64) string {
	return fmt.Sprintf("%d-%d-%d%s", i.term, i.index, size, partEnding)
}

// parseName reads a snapshot's name, as it is written and not otherwise.
func parseName(name string) (id, bool) {
	base, ok := strings.CutSuffix(name, snapEnding)
	if !ok {
		return id{}, false
	}
	term, index, _ := strings.Cut(base, "-")
	t, err1 := strconv.ParseUint(term, 10, 64)
	n, err2 := strconv.ParseUint(index, 10, 64)
	i := id{index: n, term: t}
	return i, err1 == nil && err2 == nil && i.fileName() == name
}
