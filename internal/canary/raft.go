package canary

// The guards of consensus: rules 1 to 20 of what public implementations broke, and the promises that the reads,
// leases and changes of membership rest on.
const (
	DurableBeforeSaid     Guard = "durable-before-said"
	RepeatsWait           Guard = "repeats-wait"
	OwnVoteDurable        Guard = "own-vote-durable"
	OneVoteATerm          Guard = "one-vote-a-term"
	LeaderCountsDurable   Guard = "leader-counts-durable"
	CommitOwnTerm         Guard = "commit-own-term"
	CommitByMatch         Guard = "commit-by-match"
	CommitMajority        Guard = "commit-majority"
	VoteMajority          Guard = "vote-majority"
	AppendKeepsMatching   Guard = "append-keeps-matching"
	AppendChecksPrevious  Guard = "append-checks-previous"
	CommitClamped         Guard = "commit-clamped"
	HeartbeatCommit       Guard = "heartbeat-commit"
	HeartbeatIsNoAck      Guard = "heartbeat-is-no-ack"
	VoteComparesLogs      Guard = "vote-compares-logs"
	TermBeforeIndex       Guard = "term-before-index"
	LowerTermAnswered     Guard = "lower-term-answered"
	StickyKeepsTerm       Guard = "sticky-keeps-term"
	PreVoteLostByMajority Guard = "pre-vote-lost-by-majority"
	TransferBypassesOnce  Guard = "transfer-bypasses-once"
	RemovedIsTold         Guard = "removed-is-told"
	RemovedNeverStands    Guard = "removed-never-stands"
	StickyLeader          Guard = "sticky-leader"
	SnapshotTakesLog      Guard = "snapshot-takes-log"
	SnapshotBeforeStand   Guard = "snapshot-before-standing"
	CutVouchesForNothing  Guard = "cut-vouches-for-nothing"
	CompletionMatches     Guard = "completion-matches"
	SessionCompared       Guard = "session-compared"
	RejectionSkipsTerms   Guard = "rejection-skips-terms"
	UncommittedBound      Guard = "uncommitted-bound"
	InflightBound         Guard = "inflight-bound"
	ApplyBacklogBound     Guard = "apply-backlog-bound"
	HeartbeatDoesNotWait  Guard = "heartbeat-does-not-wait"
	StalledDiskNoStand    Guard = "stalled-disk-does-not-stand"
	RecoveringVotes       Guard = "recovering-votes"
	RecoveringNoStand     Guard = "recovering-does-not-stand"
	BlankDoesNotVote      Guard = "blank-does-not-vote"
	VersionOfAll          Guard = "version-of-all"
	LeaseFromSend         Guard = "lease-from-send"
	LeaseByPromise        Guard = "lease-by-promise"
	LeaseDrift            Guard = "lease-drift"
	LeaseMajority         Guard = "lease-majority"
	LeaseEndsInTransfer   Guard = "lease-ends-in-transfer"
	RestartedVoterWaits   Guard = "restarted-voter-waits"
	PromiseStored         Guard = "promise-stored"
	StandbyLogCounts      Guard = "standby-log-counts"
	ReadNeedsRound        Guard = "read-needs-round"
	ReadAfterTermStart    Guard = "read-after-term-start"
	ReadJoinsLaterRound   Guard = "read-joins-later-round"
	ChangeAfterTermStart  Guard = "change-after-term-start"
	OneChangeAtATime      Guard = "one-change-at-a-time"
	OneVoterAtATime       Guard = "one-voter-at-a-time"
	ChangeRollsBack       Guard = "change-rolls-back"
	LearnerDoesNotCount   Guard = "learner-does-not-count"
	DeafLeaderStepsDown   Guard = "deaf-leader-steps-down"
	TransferCatchesUp     Guard = "transfer-catches-up"
)

var raftGuards = []Info{
	{DurableBeforeSaid, "raft 1", "votes, vote requests and acknowledgements leave before the write that they speak of is durable"},
	{RepeatsWait, "raft 1", "what changes nothing is acknowledged although an earlier write is still under way"},
	{OwnVoteDurable, "raft 1", "a candidate counts its own vote before it is durable"},
	{OneVoteATerm, "raft 1", "a member votes for whoever asks, several times a term"},
	{LeaderCountsDurable, "raft 1", "a leader counts entries of its own that it has not written yet"},
	{CommitOwnTerm, "raft 2", "entries of earlier terms are committed by counting"},
	{CommitByMatch, "raft 2", "any answer to an append counts for everything that was sent"},
	{CommitMajority, "raft 2", "what any one voter holds is committed"},
	{VoteMajority, "raft 2", "a candidate's own vote is enough to lead"},
	{AppendKeepsMatching, "raft 3", "an append cuts the log behind its first entry, whether or not it contradicts it"},
	{AppendChecksPrevious, "raft 3", "an append is taken whatever term the entry before it has"},
	{CommitClamped, "raft 4", "a follower commits as far as the leader did, also what the message does not reach"},
	{HeartbeatCommit, "raft 4", "a heartbeat carries the leader's commit index, and the follower commits its own log up to it"},
	{HeartbeatIsNoAck, "raft 4", "the answer to a heartbeat acknowledges what was sent before it"},
	{VoteComparesLogs, "raft 5", "a vote is granted to a log that ends with an older term, if it is as long"},
	{TermBeforeIndex, "raft 5", "a vote is granted only to a log that is as new in term and in index"},
	{LowerTermAnswered, "raft 6", "requests of a lower term are not answered"},
	{StickyKeepsTerm, "raft 6", "a member that refuses a vote because it hears its leader takes the candidate's term over"},
	{PreVoteLostByMajority, "raft 6", "one refusal ends a campaign"},
	{TransferBypassesOnce, "raft 6", "a campaign that a leader once asked for is heard in every later term"},
	{RemovedIsTold, "raft 7", "nothing is sent to a member that was removed, not even its removal"},
	{RemovedNeverStands, "raft 7", "a member that the configuration does not list stands for election"},
	{StickyLeader, "raft 7", "a member votes although it hears its leader"},
	{SnapshotTakesLog, "raft 8", "a log that contradicts a snapshot stays where it is long enough"},
	{SnapshotBeforeStand, "raft 8", "a member stands before its snapshot is durable and restored"},
	{CutVouchesForNothing, "raft 9", "a write under way vouches for entries that took the place of what it wrote"},
	{CompletionMatches, "raft 9", "the completion of a write is believed whatever entry it ends with"},
	{SessionCompared, "raft 10", "acknowledgements of an earlier session with a member count"},
	{RejectionSkipsTerms, "raft 11", "a rejection leads back by one entry"},
	{UncommittedBound, "raft 12", "a leader takes proposals however much is uncommitted"},
	{InflightBound, "raft 12", "a leader sends to a peer however much is on its way"},
	{ApplyBacklogBound, "raft 12", "a leader takes proposals however much waits to be applied"},
	{HeartbeatDoesNotWait, "raft 13", "the answer to a heartbeat waits for every write"},
	{StalledDiskNoStand, "raft 13", "a member whose disk stalls stands for election"},
	{RecoveringVotes, "raft 15", "a member that lost what it acknowledged votes by what is left"},
	{RecoveringNoStand, "raft 15", "a member that lost what it acknowledged stands for election"},
	{BlankDoesNotVote, "raft 15", "a member with an empty directory votes and stands before it knows that nobody had more"},
	{VersionOfAll, "raft 17", "the cluster's version is the highest that a member announced"},
	{LeaseFromSend, "raft 18", "a lease counts from when the answer came"},
	{LeaseByPromise, "raft 18", "a lease counts by the leader's own election timeout, not by what the voters promised"},
	{LeaseDrift, "raft 18", "a lease takes clocks for perfect"},
	{LeaseMajority, "raft 18", "the promise of one voter is enough for a lease"},
	{LeaseEndsInTransfer, "raft 18", "a leader keeps its lease when it has asked another one to stand"},
	{RestartedVoterWaits, "raft 18", "a voter that restarts forgets what it promised"},
	{PromiseStored, "raft 18", "a promise is said without being stored"},
	{StandbyLogCounts, "raft 20", "a standby votes whatever its log has"},
	{ReadNeedsRound, "raft, read barrier", "a leader answers a read without asking whether it still leads"},
	{ReadAfterTermStart, "raft, read barrier", "a new leader answers reads before it knows what is committed"},
	{ReadJoinsLaterRound, "coordination, reads", "a read joins a round that was sent before it arrived"},
	{ChangeAfterTermStart, "raft, configuration", "a leader changes the membership before an entry of its term is committed"},
	{OneChangeAtATime, "raft, configuration", "a leader changes the membership while a change is under way"},
	{OneVoterAtATime, "raft, configuration", "several voters come or go in one change"},
	{ChangeRollsBack, "raft, configuration", "a configuration stays in effect when its entry is cut"},
	{LearnerDoesNotCount, "raft, learner", "what a learner holds counts toward a majority"},
	{DeafLeaderStepsDown, "raft, partitioning flag", "a leader that hears from nobody goes on"},
	{TransferCatchesUp, "raft, transfer", "a successor is told to stand before it has everything"},
}
