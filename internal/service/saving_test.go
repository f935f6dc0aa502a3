package service

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// saveBench is a service whose snapshot is content; each time one is taken a byte of takes is there.
func saveBench(t *testing.T, content []byte, taking func() error) (b *bench, takes chan struct{}) {
	takes = make(chan struct{}, 64)
	dir := t.TempDir()
	b = newBench(t, Limits{}, Timing{}, func(_ *fakeNode, c *Config) {
		c.SaveSnapshot = func(_ context.Context, w io.Writer) (uint64, error) {
			takes <- struct{}{}
			if taking != nil {
				if err := taking(); err != nil {
					return 0, err
				}
			}
			_, err := w.Write(content)
			return 77, err
		}
		c.Scratch = func() (*os.File, error) {
			f, err := os.CreateTemp(dir, "save")
			if err != nil {
				return nil, err
			}
			return f, os.Remove(f.Name())
		}
	})
	t.Cleanup(func() {
		if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
	return b, takes
}

// fetch gets a snapshot part by part, each part twice.
func fetch(t *testing.T, b *bench, id string) []byte {
	t.Helper()
	var got []byte
	for {
		var o map[string]any
		for range 2 {
			o = b.admin("snapshot.save", fmt.Sprintf(`{"snapshot":%q,"offset":%d}`, id, len(got)))
			if o["error"] != nil {
				t.Fatalf("at %d: %v", len(got), o)
			}
		}
		data, err := base64.StdEncoding.DecodeString(o["data"].(string))
		if err != nil {
			t.Fatal(err)
		}
		size, _ := strconv.Atoi(o["size"].(string))
		if o["index"] != "77" || o["snapshot"] != id || o["offset"] != strconv.Itoa(len(got)) {
			t.Fatalf("part at %d: index %v, snapshot %v, offset %v", len(got), o["index"], o["snapshot"], o["offset"])
		}
		if got = append(got, data...); len(got) == size {
			return got
		}
	}
}

func TestASnapshotIsFetchedInParts(t *testing.T) {
	t.Parallel()
	content := make([]byte, 3*savePartBytes+1234)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	b, takes := saveBench(t, content, nil)
	if got := fetch(t, b, "mine"); !bytes.Equal(got, content) {
		t.Fatalf("got %d bytes that differ", len(got))
	}
	if len(takes) != 1 {
		t.Errorf("%d were taken for one", len(takes))
	}
	// A whole one gives way to the next, an unfinished one doesn't.
	b.admin("snapshot.save", `{"snapshot":"yours"}`)
	b.wantCode("snapshot.save", `{"snapshot":"third"}`, coorddv1.CodeBusy)
	b.wantCode("snapshot.save", `{}`, coorddv1.CodeBusy)
	b.wantCode("snapshot.save", `{"snapshot":"mine","offset":1}`, coorddv1.CodeNotFound)
	b.wantCode("snapshot.save", `{"snapshot":"yours","offset":99999999}`, coorddv1.CodeBadRequest)
	b.wantCode("snapshot.save", `{"snapshot":"y/o"}`, coorddv1.CodeBadRequest)
	if got := fetch(t, b, "yours"); !bytes.Equal(got, content) {
		t.Fatalf("got %d bytes that differ", len(got))
	}
	// At the very end there is an empty part.
	o := b.admin("snapshot.save", fmt.Sprintf(`{"snapshot":"yours","offset":%d}`, len(content)))
	if o["error"] != nil || o["data"] != "" {
		t.Errorf("at the end: %v", o)
	}
	if o := b.admin("snapshot.save", `{}`); o["snapshot"] == "" || o["error"] != nil {
		t.Errorf("without a name: %v", o["error"])
	}
}

// A snapshot that can't be taken is nobody's: the next one may be.
func TestAFailedSnapshotMakesRoom(t *testing.T) {
	t.Parallel()
	fails := make(chan error, 1)
	fails <- errors.New("the disk said no")
	b, _ := saveBench(t, []byte("state"), func() error {
		select {
		case err := <-fails:
			return err
		default:
			return nil
		}
	})
	b.wantCode("snapshot.save", `{"snapshot":"a"}`, coorddv1.CodeInternal)
	if got := fetch(t, b, "b"); string(got) != "state" {
		t.Errorf("got %q", got)
	}
}

// While one is being taken its repeats wait for it, and others are told to come later.
func TestRepeatsWaitForTheSnapshotThatIsBeingTaken(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	b, takes := saveBench(t, []byte("state"), func() error { <-hold; return nil })
	sub, inbox := b.inbox()
	for range 3 {
		if err := b.nc.PublishRequest(adminPrefix+"snapshot.save", inbox, []byte(`{"snapshot":"a"}`)); err != nil {
			t.Fatal(err)
		}
	}
	<-takes
	b.wantCode("snapshot.save", `{"snapshot":"b"}`, coorddv1.CodeBusy)
	close(hold)
	for range 3 {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if o := b.parse(msg); o["size"] != "5" {
			t.Errorf("got %v", o)
		}
	}
	if len(takes) != 0 {
		t.Errorf("%d more were taken", len(takes))
	}
}
