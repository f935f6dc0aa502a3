package machine

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/internal/allocs"
)

// anyCommand draws a command of any kind with any values.
func anyCommand(t *rapid.T) Command {
	kinds := []Kind{KindInit, KindTick, KindServing, KindNotServing, KindSessionOpen, KindSessionKeepalive, KindSessionResume, KindSessionClose,
		KindLockAcquire, KindLockCancel, KindLockRelease, KindLockForceRelease, KindSeqCreate, KindSeqAlloc, KindSeqAdvance, KindSeqDelete,
		KindLockAcquireAll, KindLockHandOver, KindElectionProclaim, KindBarrierWait, KindLatchSet, KindLatchCountDown, KindLatchWait}
	i64, u64, text := rapid.Int64(), rapid.Uint64(), rapid.String()
	meta := func() map[string]string {
		m := rapid.MapOfN(text, text, 0, 4).Draw(t, "metadata")
		if len(m) == 0 {
			return nil
		}
		return m
	}
	fences := func() []uint64 {
		fs := rapid.SliceOfN(u64, 0, 3).Draw(t, "fences")
		if len(fs) == 0 {
			return nil
		}
		return fs
	}
	names := func() []string {
		ns := rapid.SliceOfN(text, 0, 3).Draw(t, "names")
		if len(ns) == 0 {
			return nil
		}
		return ns
	}
	nonce := func() []byte {
		b := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "nonce")
		if len(b) == 0 {
			return nil
		}
		return b
	}
	c := Command{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Namespace: text.Draw(t, "ns"), Name: text.Draw(t, "name")}
	if rapid.Bool().Draw(t, "envelope") {
		c.Session, c.Generation, c.Seq, c.Ack = u64.Draw(t, "session"), u64.Draw(t, "generation"), u64.Draw(t, "seq"), u64.Draw(t, "ack")
		c.NotAfter, c.EventsSeen = i64.Draw(t, "notAfter"), u64.Draw(t, "eventsSeen")
	}
	if rapid.Bool().Draw(t, "secret") {
		c.Secret = secretOf(text.Draw(t, "secretText"))
	}
	yes := rapid.Bool()
	switch c.Kind {
	case KindInit:
		c.Init = &Init{Domain: rapid.Uint16().Draw(t, "domain")}
	case KindServing:
		c.Serving = &Serving{ElectionTimeout: i64.Draw(t, "timeout")}
	case KindSessionOpen:
		c.Open = &Open{TTL: i64.Draw(t, "ttl"), Owner: text.Draw(t, "owner"), Metadata: meta(), Nonce: nonce()}
	case KindSessionResume:
		c.Resume = &Resume{Nonce: nonce()}
	case KindLockAcquire:
		c.Acquire = &Acquire{Mode: Mode(rapid.Byte().Draw(t, "mode")), Wait: i64.Draw(t, "wait"), Metadata: meta()}
		if a := c.Acquire; yes.Draw(t, "extended") {
			a.Count, a.Limit, a.Delay, a.MaxHold = u64.Draw(t, "count"), u64.Draw(t, "limit"), i64.Draw(t, "delay"), i64.Draw(t, "maxHold")
			a.Reentrant, a.Holding, a.Value = yes.Draw(t, "reentrant"), fences(), nonce()
		}
	case KindLockAcquireAll:
		c.AcquireAll = &AcquireAll{Names: names(), Wait: i64.Draw(t, "wait"), Delay: i64.Draw(t, "delay"), MaxHold: i64.Draw(t, "maxHold"),
			Metadata: meta(), Holding: fences()}
	case KindLockHandOver:
		c.HandOver = &HandOver{Fence: u64.Draw(t, "fence"), To: u64.Draw(t, "to")}
	case KindElectionProclaim:
		c.Proclaim = &Proclaim{Fence: u64.Draw(t, "fence"), Value: nonce()}
	case KindBarrierWait:
		c.BarrierWait = &BarrierWait{Parties: u64.Draw(t, "parties"), Wait: i64.Draw(t, "wait")}
	case KindLatchSet:
		c.LatchSet = &LatchSet{Count: u64.Draw(t, "count")}
	case KindLatchCountDown:
		c.LatchCountDown = &LatchCountDown{N: u64.Draw(t, "n")}
	case KindLatchWait:
		c.LatchWait = &LatchWait{Wait: i64.Draw(t, "wait")}
	case KindLockCancel:
		c.Cancel = &Cancel{Ticket: u64.Draw(t, "ticket")}
	case KindLockRelease:
		c.Release = &Release{Fence: u64.Draw(t, "fence")}
	case KindLockForceRelease:
		c.Force = &Force{Fence: u64.Draw(t, "fence"), Reason: text.Draw(t, "reason"), Now: yes.Draw(t, "now")}
	case KindSeqCreate:
		c.Create = &SeqCreate{Min: i64.Draw(t, "min"), Max: i64.Draw(t, "max"), Step: i64.Draw(t, "step"), Start: i64.Draw(t, "start"),
			HasMin: yes.Draw(t, "hasMin"), HasMax: yes.Draw(t, "hasMax"), HasStart: yes.Draw(t, "hasStart"), Cycle: yes.Draw(t, "cycle"),
			Strict: yes.Draw(t, "strict"), MaxRange: i64.Draw(t, "maxRange")}
	case KindSeqAlloc:
		c.Alloc = &SeqAlloc{Count: i64.Draw(t, "count"), MinCount: i64.Draw(t, "min")}
	case KindSeqAdvance:
		c.Advance = &SeqAdvance{To: i64.Draw(t, "to")}
	}
	return c
}

func TestCommandsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		cs := make([]Command, n)
		for i := range cs {
			cs[i] = anyCommand(t)
		}
		data, err := EncodeCommands(cs)
		if err != nil {
			t.Fatal(err)
		}
		_, got, hashes, err := decodeCommands(data, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cs, got); diff != "" {
			t.Fatal(diff)
		}
		// The hash is that of the command alone.
		for i := range cs {
			cs[i].Session, cs[i].Generation, cs[i].Seq, cs[i].Ack, cs[i].NotAfter, cs[i].EventsSeen, cs[i].Secret = 1, 2, 3, 4, 5, 6, secretOf("q")
		}
		// And the same in each version that knows it: a client may repeat it while the cluster is upgraded.
		if data, err = EncodeCommandsAs(CommandVersion, cs); err != nil {
			t.Fatal(err)
		}
		_, _, others, _ := decodeCommands(data, nil, nil, nil)
		if diff := cmp.Diff(hashes, others); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestCommandHashTellsCommandsApart(t *testing.T) {
	t.Parallel()
	cs := []Command{want{count: 1}.of("x"), want{limit: 1}.of("x"), want{mode: Shared}.of("x"), want{reentrant: true}.of("x"), want{holding: []uint64{1}}.of("x"),
		want{value: "v"}.of("x"), want{delay: 1}.of("x"), want{maxHold: 1}.of("x"), allCommand(0, "x"), barrierCommand("x", 1, 0), latchSetCommand("x", 1),
		countDownCommand("x", 1), latchWaitCommand("x", 1), handOverCommand("x", 1, 2), proclaimCommand("x", 1, "v"), acquireCommand("x", 0), acquireCommand("x", 1), acquireCommand("y", 0), releaseCommand("x", 1), cancelCommand("x", 1),
		{Kind: KindLockAcquire, Namespace: "n", Name: "x", Acquire: &Acquire{Mode: Exclusive}},
		{Kind: KindLockAcquire, Name: "x", Acquire: &Acquire{Mode: Exclusive, Metadata: map[string]string{"a": "b"}}},
		{Kind: KindSeqDelete, Name: "x"}, {Kind: KindSessionClose, Name: "x"}}
	data, err := EncodeCommands(cs)
	if err != nil {
		t.Fatal(err)
	}
	_, _, hashes, _ := decodeCommands(data, nil, nil, nil)
	seen := map[uint64]int{}
	for i, h := range hashes {
		if j, dup := seen[h]; dup {
			t.Errorf("commands %d and %d have one hash", i, j)
		}
		seen[h] = i
	}
}

func TestEncodeRefusesWrongBodies(t *testing.T) {
	t.Parallel()
	for name, cs := range map[string][]Command{
		"nothing":      nil,
		"no body":      {{Kind: KindLockAcquire}},
		"another body": {{Kind: KindLockAcquire, Release: &Release{}}},
		"two bodies":   {{Kind: KindLockAcquire, Acquire: &Acquire{}, Release: &Release{}}},
		"needless":     {{Kind: KindTick, Release: &Release{}}},
		"unknown kind": {{Kind: 99}},
	} {
		if _, err := EncodeCommands(cs); !errors.Is(err, ErrEncode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefusesEverythingButTheOneEncoding(t *testing.T) {
	t.Parallel()
	good, err := EncodeCommands([]Command{{Kind: KindSessionOpen, Namespace: "n", Open: &Open{TTL: 5, Metadata: map[string]string{"a": "1", "b": "2"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := DecodeCommands(good[:i]); err == nil {
			t.Errorf("cut at %d is accepted", i)
		}
	}
	swapped := bytes.Replace(good, []byte("\x01a\x011\x01b\x012"), []byte("\x01b\x012\x01a\x011"), 1)
	twice := bytes.Replace(good, []byte("\x01a\x011\x01b\x012"), []byte("\x01a\x011\x01a\x012"), 1)
	for name, data := range map[string][]byte{
		"trailing byte":    append(append([]byte{}, good...), 0),
		"no commands":      {CommandVersion, 0},
		"version 0":        {0, 1, byte(KindTick), 0, 0, 0},
		"too many":         {CommandVersion, 200, 1, 2, 0, 0, 0},
		"long varint":      {CommandVersion, 0x81, 0, 2, 0, 0, 0},
		"unknown flags":    {CommandVersion, 1, byte(KindTick), 4, 0, 0},
		"empty envelope":   {CommandVersion, 1, byte(KindTick), flagEnvelope, 0, 0, 0, 0, 0, 0, 0, 0},
		"empty secret":     append(append([]byte{CommandVersion, 1, byte(KindTick), flagSecret}, make([]byte, 16)...), 0, 0),
		"truth value 2":    {CommandVersion, 1, byte(KindLockForceRelease), 0, 0, 0, 1, 0, 2},
		"large domain":     {CommandVersion, 1, byte(KindInit), 0, 0, 0, 0x80, 0x80, 4},
		"unsorted map":     swapped,
		"a key twice":      twice,
		"another version":  append([]byte{CommandVersion + 1}, good[1:]...),
		"unknown kind":     {CommandVersion, 1, 250, 0, 0, 0},
		"empty extension":  {2, 1, byte(KindLockAcquire), flagExtended, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"extended before":  {1, 1, byte(KindLockAcquire), flagExtended, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"extended tick":    {2, 1, byte(KindTick), flagExtended, 0, 0},
		"shared before":    {1, 1, byte(KindLockAcquire), 0, 0, 0, byte(Shared), 0, 0},
		"too early a kind": {1, 1, byte(KindLatchSet), 0, 0, 0, 1},
		"too many names":   {2, 1, byte(KindLockAcquireAll), 0, 0, 0, 0xff, 0xff, 3, 0, 0, 0, 0, 0},
	} {
		if _, err := DecodeCommands(data); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// The log holds commands for years: their bytes must never change.
func TestCommandsHaveTheBytesThatTheyAlwaysHad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cs   []Command
		want string
	}{
		{[]Command{{Kind: KindTick}}, "\x01\x01\x02\x00\x00\x00"},
		{[]Command{{Kind: KindLockAcquire, Namespace: "ns", Name: "x", Session: 5, Generation: 1, Seq: 300, Ack: 299, EventsSeen: 2, NotAfter: 10,
			Secret: SecretHash{1, 15: 2}, Acquire: &Acquire{Mode: Exclusive, Wait: -1, Metadata: map[string]string{"k": "v"}}}},
			"\x01\x01\x14\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x05\x01\xac\x02\xab\x02\x02\x14\x02ns\x01x\x01\x01\x01\x01k\x01v"},
		{[]Command{{Kind: KindSeqCreate, Name: "s", Create: &SeqCreate{Min: -1, Max: 9, Step: 2, Start: 3, HasMin: true, Strict: true, MaxRange: 64}},
			{Kind: KindSeqDelete, Name: "s"}},
			"\x01\x02\x1e\x00\x00\x01s\x01\x12\x04\x06\x01\x00\x00\x00\x01\x80\x01!\x00\x00\x01s"},
	} {
		got, err := EncodeCommands(c.cs)
		if err != nil || string(got) != c.want {
			t.Errorf("%q, want %q (%v)", got, c.want, err)
		}
	}
}

func TestOlderMembersAreNotSentWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	plain := acquireCommand("x", 0)
	for _, c := range []Command{want{mode: Shared}.of("x"), want{mode: Semaphore, limit: 1}.of("x"), want{value: "v"}.of("x"), want{reentrant: true}.of("x"),
		allCommand(0, "x"), handOverCommand("x", 1, 2), proclaimCommand("x", 1, ""), barrierCommand("x", 2, 0), latchSetCommand("x", 1),
		countDownCommand("x", 1), latchWaitCommand("x", 0)} {
		for _, members := range []uint32{0, 1} {
			if _, err := EncodeCommandsAs(members, []Command{plain, c}); !errors.Is(err, ErrVersion) {
				t.Errorf("kind %d for members of version %d: %v", c.Kind, members, err)
			}
		}
		if data, err := EncodeCommands([]Command{plain, c}); err != nil || data[0] != 2 {
			t.Errorf("kind %d: %v", c.Kind, err)
		}
	}
	for members, version := range map[uint32]byte{0: 1, 1: 1, 2: 2, 7: CommandVersion} {
		if data, err := EncodeCommandsAs(members, []Command{plain}); err != nil || data[0] != version {
			t.Errorf("members of version %d get an entry of version %d: %v", members, data[0], err)
		}
	}
	if data, err := EncodeCommands([]Command{plain}); err != nil || data[0] != 1 {
		t.Error(err)
	}
}

// commandsOfEachKind are commands of all kinds, with nothing in them, and with texts of n bytes and the largest numbers.
func commandsOfEachKind(n int) (cs []Command) {
	text, most := strings.Repeat("t", n), uint64(math.MaxUint64)
	metadata := map[string]string{text: text, "": ""}
	for _, full := range []Command{
		{Kind: KindInit, Init: &Init{Domain: math.MaxUint16}}, {Kind: KindTick}, {Kind: KindServing, Serving: &Serving{ElectionTimeout: math.MaxInt64}},
		{Kind: KindNotServing}, {Kind: KindSessionOpen, Open: &Open{TTL: math.MinInt64, Owner: text, Metadata: metadata, Nonce: []byte(text + "n")}},
		{Kind: KindSessionKeepalive}, {Kind: KindSessionResume, Resume: &Resume{Nonce: []byte(text + "n")}}, {Kind: KindSessionClose},
		{Kind: KindLockAcquire, Acquire: &Acquire{Mode: Exclusive, Wait: math.MaxInt64, Metadata: metadata}}, {Kind: KindLockCancel, Cancel: &Cancel{Ticket: most}},
		{Kind: KindLockRelease, Release: &Release{Fence: most}}, {Kind: KindLockForceRelease, Force: &Force{Fence: most, Reason: text, Now: true}},
		{Kind: KindSeqCreate, Create: &SeqCreate{Min: math.MinInt64, Max: math.MaxInt64, Step: -1, Start: 1, HasMin: true, HasMax: true, HasStart: true,
			Cycle: true, Strict: true, MaxRange: math.MaxInt64}},
		{Kind: KindSeqAlloc, Alloc: &SeqAlloc{Count: math.MaxInt64, MinCount: math.MinInt64}}, {Kind: KindSeqAdvance, Advance: &SeqAdvance{To: math.MinInt64}},
		{Kind: KindSeqDelete},
		{Kind: KindLockAcquire, Acquire: &Acquire{Mode: Semaphore, Wait: -1, Count: most, Limit: most, Delay: math.MaxInt64, MaxHold: math.MinInt64, Reentrant: true,
			Holding: []uint64{most, 0}, Value: []byte(text + "v"), Metadata: metadata}},
		{Kind: KindLockAcquireAll, AcquireAll: &AcquireAll{Names: []string{text, "", text}, Wait: math.MinInt64, Delay: -1, MaxHold: 1, Metadata: metadata, Holding: []uint64{most}}},
		{Kind: KindLockHandOver, HandOver: &HandOver{Fence: most, To: most}}, {Kind: KindElectionProclaim, Proclaim: &Proclaim{Fence: most, Value: []byte(text + "v")}},
		{Kind: KindBarrierWait, BarrierWait: &BarrierWait{Parties: most, Wait: math.MaxInt64}}, {Kind: KindLatchSet, LatchSet: &LatchSet{Count: most}},
		{Kind: KindLatchCountDown, LatchCountDown: &LatchCountDown{N: most}}, {Kind: KindLatchWait, LatchWait: &LatchWait{Wait: math.MinInt64}},
	} {
		full.Namespace, full.Name, full.Secret = text, text, SecretHash{1}
		full.Session, full.Generation, full.Seq, full.Ack, full.EventsSeen, full.NotAfter = most, most, most, most, most, math.MinInt64
		cs = append(cs, full)
	}
	return append(cs, Command{Kind: KindInit, Init: &Init{}}, Command{Kind: KindServing, Serving: &Serving{}}, Command{Kind: KindSessionOpen, Open: &Open{}},
		Command{Kind: KindSessionResume, Resume: &Resume{}}, Command{Kind: KindLockAcquire, Acquire: &Acquire{}}, Command{Kind: KindLockCancel, Cancel: &Cancel{}},
		Command{Kind: KindLockRelease, Release: &Release{}}, Command{Kind: KindLockForceRelease, Force: &Force{}}, Command{Kind: KindSeqCreate, Create: &SeqCreate{}},
		Command{Kind: KindLockAcquireAll, AcquireAll: &AcquireAll{}}, Command{Kind: KindLockHandOver, HandOver: &HandOver{}},
		Command{Kind: KindElectionProclaim, Proclaim: &Proclaim{}}, Command{Kind: KindBarrierWait, BarrierWait: &BarrierWait{}}, Command{Kind: KindLatchSet, LatchSet: &LatchSet{}},
		Command{Kind: KindLatchCountDown, LatchCountDown: &LatchCountDown{}}, Command{Kind: KindLatchWait, LatchWait: &LatchWait{}},
		Command{Kind: KindSeqAlloc, Alloc: &SeqAlloc{}}, Command{Kind: KindSeqAdvance, Advance: &SeqAdvance{}})
}

// FuzzDecodeCommands decodes the data of an entry: an error, or commands that encode to the same bytes and can be applied.
func FuzzDecodeCommands(f *testing.F) {
	for _, n := range []int{0, 1, MaxNamespaceBytes, MaxNamespaceBytes + 1, MaxOwnerBytes + 1, MaxNameBytes, MaxNameBytes + 1, MaxMetadataBytes + 1} {
		all := commandsOfEachKind(n)
		for i := range all {
			if data, err := EncodeCommands(all[i : i+1]); err != nil {
				f.Fatal(err)
			} else if n < MaxOwnerBytes || i < 24 {
				f.Add(data)
			}
		}
		data, err := EncodeCommands(all)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-1])
		f.Add(append(data, 0))
	}
	f.Add([]byte{CommandVersion, 0xff, 0xff, 0xff, 0xff, 0x0f, byte(KindTick), 0, 0, 0})             // 2³² commands
	f.Add([]byte{CommandVersion, 1, byte(KindTick), 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0}) // a name of 4 GiB
	f.Add([]byte{CommandVersion, 1, byte(KindLockAcquire), 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0x0f, 0, 0})
	for seed := range uint64(20) {
		w := newWorkload(New(), randomPick(seed))
		for range 10 {
			if e := w.entry(); e.Command {
				f.Add(e.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// A command is a struct of some hundred bytes for four.
		allocs.Within(t, len(data), 256<<10, 200, func() {
			if _, err := DecodeCommands(data); err != nil && len(err.Error()) < 16 {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
		cs, err := DecodeCommands(data)
		if err != nil {
			return
		}
		again, err := EncodeCommandsAs(uint32(data[0]), cs)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x was decoded and encoded to %x (%v)", data, again, err)
		}
		// Whatever can be decoded can be applied.
		m := New()
		m.Apply(Entry{Index: 1, Term: 1})
		for i := range uint64(2) {
			if res := m.Apply(Entry{Index: 2 + i, Term: 1, Time: int64(i), Command: true, Data: data}); res.Err != nil || len(res.Replies) != len(cs) {
				t.Fatalf("%d replies for %d commands (%v)", len(res.Replies), len(cs), res.Err)
			}
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
