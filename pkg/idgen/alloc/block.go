package alloc

import "context"

// Block gives out numbers to one goroutine, without even an atomic add for most of them: it takes runs of
// the allocator's numbers. It must not be shared between goroutines.
type Block struct {
	a       *Allocator
	size    int64
	v, step int64
	left    int64
}

// Block returns a block that takes runs of up to n numbers; n below 1 counts as 1.
func (a *Allocator) Block(n int) *Block { return &Block{a: a, size: int64(max(n, 1))} }

// Next returns the block's next number. ctx bounds the wait if the allocator has none at hand.
func (b *Block) Next(ctx context.Context) (int64, error) {
	if b.left == 0 {
		v, step, n, err := b.a.run(ctx, b.size)
		if err != nil {
			return 0, err
		}
		b.v, b.step, b.left = v, step, n
	}
	v := b.v
	b.left--
	if b.left > 0 {
		b.v += b.step // not beyond the run's end: that may be the last int64
	}
	return v, nil
}
