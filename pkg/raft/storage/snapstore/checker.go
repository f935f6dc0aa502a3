package snapstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/coordd/coordd/pkg/raft"
)

// part is one verified part of a file, as it lies there.
type part struct {
	raw  []byte // good until the next bytes are given
	data []byte // of a block, inside raw
}

// checker takes a file's bytes from front to back and verifies each part as soon as it is whole. It needs memory
// for one part.
type checker struct {
	// take is given each part that is sound, in order.
	take func(part) error

	buf  []byte // the current part, as far as it is there
	want int    // bytes of it that are needed to know more

	meta   *raft.SnapshotMeta // nil: no header yet
	header int                // its size
	end    *end               // set after the last part
	blocks uint32
	bytes  uint64
	short  bool // the last block was shorter than the others
	sum    hash.Hash
	offset int64 // behind the last sound part
}

func newChecker(take func(part) error) *checker {
	return &checker{take: take, want: headerFixed, sum: sha256.New()}
}

// give takes bytes, of which some may be left where more than the end is given. After an error the parts before
// offset are sound, and nothing else is known.
func (c *checker) give(b []byte) error {
	for len(b) > 0 {
		if c.end != nil {
			return fmt.Errorf("at byte %d: %d bytes behind the end", c.offset, len(b))
		}
		n := min(len(b), c.want-len(c.buf))
		c.buf, b = append(c.buf, b[:n]...), b[n:]
		if len(c.buf) < c.want {
			return nil
		}
		if err := c.step(); err != nil {
			return fmt.Errorf("at byte %d, %s: %w", c.offset, c.place(), err)
		}
	}
	return nil
}

// place names the current part.
func (c *checker) place() string {
	switch {
	case c.meta == nil:
		return "header"
	case len(c.buf) > 0 && c.buf[0] == kindEnd:
		return "end"
	}
	return fmt.Sprintf("block %d", c.blocks)
}

// step looks at the current part, of which all wanted bytes are there.
func (c *checker) step() (err error) {
	switch {
	case c.meta == nil && c.want == headerFixed:
		c.want, err = headerBytes(c.buf)
		return err
	case c.meta == nil:
		return c.takeHeader()
	case c.want == 1:
		return c.begin()
	case c.buf[0] == kindEnd:
		return c.takeEnd()
	case c.want == blockFixed:
		c.want, err = blockBytes(c.buf, c.blocks)
		return err
	}
	return c.takeBlock()
}

// begin looks at a part's first byte.
func (c *checker) begin() error {
	switch kind := c.buf[0]; {
	case kind == kindEnd:
		c.want = endBytes
	case kind == kindBlock && c.short:
		return errors.New("a block behind the last one")
	case kind == kindBlock && c.blocks == math.MaxUint32:
		return errors.New("too many blocks")
	case kind == kindBlock:
		c.want = blockFixed
	default:
		return fmt.Errorf("a part of unknown kind %#x", kind)
	}
	return nil
}

func (c *checker) takeHeader() error {
	meta, err := parseHeader(c.buf)
	if err != nil {
		return err
	}
	if err := c.take(part{raw: c.buf}); err != nil {
		return err
	}
	c.meta, c.header = &meta, len(c.buf)
	c.done()
	return nil
}

func (c *checker) takeBlock() error {
	if !sealed(c.buf) {
		return errChecksum
	}
	data := c.buf[blockFixed : len(c.buf)-sumBytes]
	if err := c.take(part{raw: c.buf, data: data}); err != nil {
		return err
	}
	c.blocks, c.bytes, c.short = c.blocks+1, c.bytes+uint64(len(data)), len(data) < BlockBytes
	c.done()
	return nil
}

func (c *checker) takeEnd() error {
	e, err := parseEnd(c.buf)
	switch {
	case err != nil:
		return err
	case e.blocks != uint64(c.blocks) || e.bytes != c.bytes:
		return fmt.Errorf("%d blocks with %d bytes, the end counts %d with %d", c.blocks, c.bytes, e.blocks, e.bytes)
	case !bytes.Equal(e.sum[:], c.sum.Sum(nil)):
		return errors.New("checksum of the whole does not match")
	}
	if err := c.take(part{raw: c.buf}); err != nil {
		return err
	}
	c.end = &e
	c.done()
	return nil
}

// done goes on to the next part.
func (c *checker) done() {
	c.sum.Write(c.buf)
	c.offset += int64(len(c.buf))
	c.restart()
}

// restart forgets what is there of the current part.
func (c *checker) restart() {
	c.buf, c.want = c.buf[:0], 1
	if c.meta == nil {
		c.want = headerFixed
	}
}
