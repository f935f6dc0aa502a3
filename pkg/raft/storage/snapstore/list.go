package snapstore

import (
	"cmp"
	"slices"

	"github.com/coordd/coordd/pkg/raft/storage"
)

func idOf(info storage.SnapshotInfo) id { return id{info.Meta.Index, info.Meta.Term} }

// insert puts a snapshot into a list, newest first, in the place of one with the same name.
func insert(list []storage.SnapshotInfo, info storage.SnapshotInfo) []storage.SnapshotInfo {
	list = append(without(list, idOf(info)), info)
	slices.SortFunc(list, func(a, b storage.SnapshotInfo) int {
		return cmp.Or(cmp.Compare(b.Meta.Index, a.Meta.Index), cmp.Compare(b.Meta.Term, a.Meta.Term))
	})
	return list
}

func without(list []storage.SnapshotInfo, i id) []storage.SnapshotInfo {
	return slices.DeleteFunc(list, func(o storage.SnapshotInfo) bool { return idOf(o) == i })
}

func has(list []storage.SnapshotInfo, i id) bool {
	return slices.ContainsFunc(list, func(o storage.SnapshotInfo) bool { return idOf(o) == i })
}
