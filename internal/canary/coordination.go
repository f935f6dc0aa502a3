package canary

// The guards of replicated time, sessions, locks, fences and of the way of a request.
const (
	OnlyCommittedApplies    Guard = "only-committed-applies"
	StampFromLastEntry      Guard = "stamp-from-last-entry"
	ClockAnchorAtAppend     Guard = "clock-anchor-at-append"
	NewTermStopsExpiry      Guard = "new-term-stops-expiry"
	NotServingStopsExpiry   Guard = "not-serving-stops-expiry"
	ServingGivesGrace       Guard = "serving-gives-grace"
	EndedIsRemoved          Guard = "ended-is-removed"
	EndBeforeExecute        Guard = "end-before-execute"
	DeadLeaveQueuesFirst    Guard = "dead-leave-queues-first"
	OpenNotFromCache        Guard = "open-not-from-cache"
	RequestDeadline         Guard = "request-deadline"
	SecretCompared          Guard = "secret-compared"
	GenerationCompared      Guard = "generation-compared"
	RepliesKept             Guard = "replies-kept"
	SeqBelowFloorIsStale    Guard = "seq-below-floor-is-stale"
	ReuseRefused            Guard = "reuse-refused"
	WindowBounded           Guard = "window-bounded"
	TicketBelowFloorAnswers Guard = "ticket-below-floor-answers"
	ResumeRaisesGeneration  Guard = "resume-raises-generation"
	ResumeRenewsFences      Guard = "resume-renews-fences"
	ResumeOnceANonce        Guard = "resume-once-a-nonce"
	CancelLeavesTombstone   Guard = "cancel-leaves-tombstone"
	ReleaseNamesFence       Guard = "release-names-fence"
	ForcedHoldBlocks        Guard = "forced-hold-blocks"
	QueueInArrivalOrder     Guard = "queue-in-arrival-order"
	WriterStopsReaders      Guard = "writer-stops-readers"
	PermitsWithinLimit      Guard = "permits-within-limit"
	AllAtOnce               Guard = "all-at-once"
	CycleIsFound            Guard = "cycle-is-found"
	DelayedHoldBlocks       Guard = "delayed-hold-blocks"
	MaxHoldEnds             Guard = "max-hold-ends"
	ResumeRenewsAll         Guard = "resume-renews-all"
	DeadDoNotCount          Guard = "dead-do-not-count"
	HandOverToLive          Guard = "hand-over-to-live"
	LeavingLetsIn           Guard = "leaving-lets-in"
	VersionOfCommands       Guard = "version-of-commands"
	FenceIsCounted          Guard = "fence-is-counted"
	RestoreRaisesFence      Guard = "restore-raises-fence"
	PlainSubscriptions      Guard = "plain-subscriptions"
	BusyNeedsLease          Guard = "busy-needs-lease"
	DeposedIsSilent         Guard = "deposed-is-silent"
	ServingAfterProbe       Guard = "serving-after-probe"
	ProbeThroughOthers      Guard = "probe-through-others"
	LossOfNATSStopsExpiry   Guard = "loss-of-nats-stops-expiry"
	NoTickUnlessServing     Guard = "no-tick-unless-serving"
	DueIsTicked             Guard = "due-is-ticked"
	KeepalivesFirst         Guard = "keepalives-first"
	HandOverToHealthy       Guard = "hand-over-to-healthy"
	ServiceReadProved       Guard = "service-read-proved"
	ClientCountsFromSend    Guard = "client-counts-from-send"
	ClientAllowsForDrift    Guard = "client-allows-for-drift"
	ClientSeesJumps         Guard = "client-sees-jumps"
	ClientChecksAtUse       Guard = "client-checks-at-use"
	LostSessionStaysLost    Guard = "lost-session-stays-lost"
	TicketTakenOnce         Guard = "ticket-taken-once"
	AnswerTakenOnce         Guard = "answer-taken-once"
	EventOfOwnGeneration    Guard = "event-of-own-generation"
	MissingNeedsLaterAnswer Guard = "missing-needs-later-answer"
	UnknownAfterRepeat      Guard = "unknown-after-repeat"
	SetNeedsAllGrants       Guard = "set-needs-all-grants"
	MaxHoldBoundsValid      Guard = "max-hold-bounds-valid"
	EntriesCounted          Guard = "entries-counted"
	ObserveNeverGoesBack    Guard = "observe-never-goes-back"
)

var coordinationGuards = []Info{
	{OnlyCommittedApplies, "coordination, expiry without a commit", "entries take effect, and let sessions end, before they are committed"},
	{StampFromLastEntry, "coordination, stamping from the last applied entry", "a leader's clock goes on from the last entry that it applied"},
	{ClockAnchorAtAppend, "coordination, replicated time", "a leader's clock goes on from its election, as if no time had passed since the last entry"},
	{NewTermStopsExpiry, "coordination, first entry after an outage", "a new leader's first entry ends what nobody could renew"},
	{NotServingStopsExpiry, "coordination, serving", "things expire while NATS is down"},
	{ServingGivesGrace, "coordination, first entry after an outage", "a leader that begins to serve gives nobody time to find it"},
	{EndedIsRemoved, "coordination, Serving reviving ended sessions", "a session that ended goes on to be found and renewed, though its locks were handed on"},
	{EndBeforeExecute, "coordination, order of apply", "the commands of an entry come before the ends that its time brings"},
	{DeadLeaveQueuesFirst, "coordination, order of ends", "a lock is handed to a waiter whose session ends in the same entry"},
	{OpenNotFromCache, "coordination, answers that move a clock", "a repeated open is answered with the time of the first one"},
	{RequestDeadline, "coordination, not_after", "a request is executed whenever it comes"},
	{SecretCompared, "coordination, sessions", "whoever knows a session's number speaks for it"},
	{GenerationCompared, "coordination, resume", "the process that lost its session to another one goes on using it"},
	{RepliesKept, "coordination, reply cache evicted", "the reply of a request is forgotten before its client has it"},
	{SeqBelowFloorIsStale, "coordination, sessions", "a request that was acknowledged is executed again"},
	{ReuseRefused, "coordination, sessions", "another command under a used seq gets the first one's reply"},
	{WindowBounded, "coordination, sessions", "a session keeps as many replies as its client leaves outstanding"},
	{TicketBelowFloorAnswers, "coordination, QUEUED ticket lost below the floor", "a ticket that waits can't be asked for once its seq is below the floor"},
	{ResumeRaisesGeneration, "coordination, resume", "a resumed session belongs to two processes"},
	{ResumeRenewsFences, "coordination, resume", "the holds of a resumed session keep their fences"},
	{ResumeOnceANonce, "coordination, resume", "a repeated resume resumes again"},
	{CancelLeavesTombstone, "coordination, cancel of a seq that was not executed", "a cancelled acquire that comes late is granted to nobody"},
	{ReleaseNamesFence, "coordination, release by name", "a release frees whatever hold the lock has now"},
	{ForcedHoldBlocks, "coordination, forced hold beside a believer", "a forced release grants the lock while its holder still believes in it"},
	{QueueInArrivalOrder, "coordination, locks", "the ticket that came last is served first"},
	{WriterStopsReaders, "coordination, locks", "readers that come later overtake a writer that waits, which starves"},
	{PermitsWithinLimit, "coordination, locks", "a semaphore gives out more permits than its limit"},
	{AllAtOnce, "coordination, acquire-all", "a ticket of several locks is granted when the first of them is free"},
	{CycleIsFound, "coordination, deadlock", "requests that wait for each other wait for ever"},
	{DelayedHoldBlocks, "coordination, lock-delay", "the lock of an expired holder with a lock-delay is granted at once"},
	{MaxHoldEnds, "coordination, max-hold", "a holder that never lets go keeps its lock for ever"},
	{ResumeRenewsAll, "coordination, resume", "of several locks of one ticket, a resumed session gets a new fence for the first one alone"},
	{DeadDoNotCount, "coordination, order of ends", "a session that ended goes on to count at a barrier"},
	{HandOverToLive, "coordination, election", "a lock is handed over to whoever is next when the session that was named waits no more"},
	{LeavingLetsIn, "coordination, locks", "readers wait on behind a writer that gave up"},
	{VersionOfCommands, "coordination, cluster version", "a leader proposes what a member can't read yet"},
	{FenceIsCounted, "coordination, fence from the index", "fences go on from the index of the entry"},
	{RestoreRaisesFence, "coordination, fences", "a restored cluster gives out the fences of the old one again"},
	{PlainSubscriptions, "coordination, queue group", "leaders, old and new, share a queue group"},
	{BusyNeedsLease, "coordination, early BUSY by a stale leader", "a leader in doubt refuses what the real one may grant"},
	{DeposedIsSilent, "coordination, reads and routing", "a deposed leader answers what it could not finish"},
	{ServingAfterProbe, "coordination, serving", "time ends things before clients can reach the leader"},
	{ProbeThroughOthers, "coordination, NATS health", "a node asks its own server alone whether NATS works"},
	{LossOfNATSStopsExpiry, "coordination, serving", "a leader without NATS lets expire what it can't hear of"},
	{NoTickUnlessServing, "coordination, serving", "a leader proposes ticks while NATS is down"},
	{DueIsTicked, "coordination, replicated time", "a leader lets nothing end unless somebody asks for something"},
	{KeepalivesFirst, "coordination, sessions", "renewals wait behind all other work"},
	{HandOverToHealthy, "coordination, NATS health", "a leader without NATS hands over to one that has none either"},
	{ServiceReadProved, "coordination, reads", "a leader answers reads from what it has applied, without a barrier"},
	{ClientCountsFromSend, "coordination, deadline from the wrong moment", "a client counts its session's time from the answer, not from the question"},
	{ClientAllowsForDrift, "coordination, replicated time", "a client takes clocks for perfect"},
	{ClientSeesJumps, "coordination, sessions", "a client does not notice that its machine slept"},
	{ClientChecksAtUse, "coordination, sessions", "a client does not look at the clock when it uses its session"},
	{LostSessionStaysLost, "coordination, later keepalive revives ghost holds", "a session whose time ran out is taken up again when an answer comes"},
	{TicketTakenOnce, "coordination, late reply installed twice", "a late answer brings back a hold that was given up"},
	{AnswerTakenOnce, "coordination, late reply installed twice", "a second answer to one request, a range of numbers say, is installed beside the first"},
	{EventOfOwnGeneration, "coordination, resume", "a client takes the events of another generation for its own"},
	{MissingNeedsLaterAnswer, "coordination, ticket state", "an answer from before a grant ends the grant"},
	{UnknownAfterRepeat, "coordination, sessions", "a repeated request that meets an ended session counts as not executed"},
	{SetNeedsAllGrants, "coordination, acquire-all", "a client takes several locks for held when the grant of one is known"},
	{MaxHoldBoundsValid, "coordination, max-hold", "a client believes in a hold past the end that it has of its own"},
	{EntriesCounted, "coordination, reentrant mode", "the first entry of a reentrant lock that is given back ends all of them"},
	{ObserveNeverGoesBack, "coordination, election", "who observes an election is told of an old leader after a newer one"},
}
