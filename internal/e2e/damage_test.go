//go:build disk

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// fileKind is a kind of file in a data directory; pattern finds those of it.
type fileKind struct{ name, pattern string }

var fileKinds = []fileKind{
	{"memtable log", "badger/*.mem"},
	{"table", "badger/*.sst"},
	{"manifest", "badger/MANIFEST"},
	{"value log", "badger/*.vlog"},
	{"key registry", "badger/KEYREGISTRY"},
	{"discard statistics", "badger/DISCARD"},
	{"sidecar", "sidecar"},
	{"snapshot", "snapshots/*.snap"},
	{"owner's file", "LOCK"},
	{"Badger's owner's file", "badger/LOCK"},
	{"ballast", "ballast"},
}

// injury is what is done to one file. It returns what exactly was done; "" if it can't be done to this file.
type injury struct {
	name string
	do   func(p *patient, path string) (string, error)
}

// patient is a stopped directory, the directory of a healthy node beside it, and where chance comes from.
type patient struct {
	dir, healthy string
	rnd          *rand.Rand
}

var injuries = []injury{
	{"flipped bit", flipBit},
	{"torn tail", tearTail},
	{"zeroed page", zeroPage},
	{"deleted", deleteFile},
	{"another node's", takeOthers},
	{"swapped", swapFiles},
}

// used is the length of a file up to its last byte that is not zero; at least 1, and 0 for an empty one.
func used(path string) (int64, error) {
	b, err := os.ReadFile(path)
	return max(int64(len(bytes.TrimRight(b, "\x00"))), min(1, int64(len(b)))), err
}

// place is a random place in a file: mostly where it is used, at times anywhere.
func (p *patient) place(path string) (int64, error) {
	n, err := used(path)
	if err != nil {
		return 0, err
	}
	if p.rnd.IntN(8) == 0 {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		n = info.Size()
	}
	if n == 0 {
		return -1, nil
	}
	return p.rnd.Int64N(n), nil
}

func flipBit(p *patient, path string) (string, error) {
	at, err := p.place(path)
	if err != nil || at < 0 {
		return "", err
	}
	bit := byte(1) << p.rnd.IntN(8)
	err = patch(path, at, func(b []byte) { b[0] ^= bit }, 1)
	return fmt.Sprintf("bit %#x of byte %d", bit, at), err
}

// patch changes n bytes of a file, or as many as there are.
func patch(path string, at int64, change func([]byte), n int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, n)
	got, err := f.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	change(b[:got])
	_, err = f.WriteAt(b[:got], at)
	return err
}

func tearTail(p *patient, path string) (string, error) {
	n, err := used(path)
	if err != nil || n == 0 {
		return "", err
	}
	left := n - 1 - p.rnd.Int64N(n)
	return fmt.Sprintf("cut to %d of %d bytes", left, n), os.Truncate(path, left)
}

const pageBytes = 4096

func zeroPage(p *patient, path string) (string, error) {
	at, err := p.place(path)
	if err != nil || at < 0 {
		return "", err
	}
	at -= at % pageBytes
	return fmt.Sprintf("page at %d", at), patch(path, at, func(b []byte) { clear(b) }, pageBytes)
}

func deleteFile(_ *patient, path string) (string, error) { return "gone", os.Remove(path) }

// takeOthers puts a healthy node's file of the same kind in the place of this one.
func takeOthers(p *patient, path string) (string, error) {
	rel, err := filepath.Rel(p.dir, path)
	if err != nil {
		return "", err
	}
	from := filepath.Join(p.healthy, rel)
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		others, err := filepath.Glob(filepath.Join(filepath.Dir(from), "*"+filepath.Ext(from)))
		if err != nil || len(others) == 0 {
			return "", err
		}
		from = others[p.rnd.IntN(len(others))]
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile(path)
	if err != nil || bytes.Equal(b, own) {
		return "", err
	}
	return "that of " + from, os.WriteFile(path, b, 0o600)
}

// swapFiles exchanges the content of a file and of another one of the same directory.
func swapFiles(p *patient, path string) (string, error) {
	list, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil {
		return "", err
	}
	list = slices.DeleteFunc(list, func(other string) bool {
		info, err := os.Stat(other)
		return other == path || err != nil || !info.Mode().IsRegular()
	})
	alike := slices.DeleteFunc(slices.Clone(list), func(other string) bool { return filepath.Ext(other) != filepath.Ext(path) })
	if len(alike) > 0 && p.rnd.IntN(2) == 0 {
		list = alike
	}
	if len(list) == 0 {
		return "", nil
	}
	other := list[p.rnd.IntN(len(list))]
	hold := path + ".hold"
	err = errors.Join(os.Rename(path, hold), os.Rename(other, path), os.Rename(hold, other))
	return "with " + filepath.Base(other), err
}
