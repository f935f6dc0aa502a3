// Package coorddtest is a coordd service in the process of a test, with a clock that the test moves.
//
//	s := coorddtest.New(t)
//	c := s.Client()
//	l, err := c.Lock(ctx, "orders/42")
//	s.Advance(time.Hour)      // milliseconds; the session is renewed all along
//	s.ExpireClient(c)         // l.Context() has ended
//
// It is the real service and the real replicated state machine behind an embedded NATS server that listens on no port, and
// clients are real ones. What is missing is Raft: one node, whose log nobody keeps, leads whenever it is to. Cluster time and
// the clocks of all clients are one virtual time that begins at 0 and stands still unless the test moves it ([Server.Advance]);
// a lease of 15 seconds runs out in a millisecond or two. Requests need no virtual time: a free lock is had at once.
//
// What has to wait in virtual time waits for the test: a Lock on a held lock with client.Wait(10*time.Second) returns once
// another goroutine has called Advance. To let a goroutine get as far as that, wait for what it does: [Server.AwaitQueued].
// With [Flowing], time passes by itself as well.
//
// Faults: [Server.ExpireSession], [Server.DropReply], [Server.DuplicateRequest], [Server.Pause] and [Server.PauseClient],
// [Server.Failover], [Server.Outage].
//
// It promises that after Advance all that was due has happened, in the order in which it was due, as far as service and
// clients go; the test's own goroutines that were woken by it run when they run. Each server has time, names and clients of
// its own, so tests may run in parallel, and leaves nothing behind. Deadlines of contexts that a test makes, and what
// it sleeps, are of the machine's time, and so are the pauses of sequences between refills that failed.
package coorddtest
