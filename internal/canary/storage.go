package canary

// The guards of the log on disk and of the runtime around the core: hazards of storage, and the rules of consensus that
// the runtime keeps.
const (
	MarkLags             Guard = "mark-lags"
	MarkGoesBackFirst    Guard = "mark-goes-back-first"
	MarkCoversTruncation Guard = "mark-covers-truncation"
	MarkKeptInRecovery   Guard = "mark-kept-in-recovery"
	MarkMakesRecovering  Guard = "mark-makes-recovering"
	HigherBallotCounts   Guard = "higher-ballot-counts"
	TwoVotesRefused      Guard = "two-votes-refused"
	ChainVerified        Guard = "chain-verified"
	ChecksumVerified     Guard = "checksum-verified"
	EmptyLogRefused      Guard = "empty-log-refused"
	OtherOwnerRefused    Guard = "other-owner-refused"
	WitnessBelieved      Guard = "witness-believed"
	CommittedIsNotCut    Guard = "committed-is-not-cut"
	TailBehindSnapshot   Guard = "tail-behind-snapshot"
	SpaceIsChecked       Guard = "space-is-checked"
	BatchIsSplit         Guard = "batch-is-split"
	EveryWriteIsSynced   Guard = "every-write-is-synced"
	FailureOfLogSticks   Guard = "failure-of-log-sticks"
	FailedWriteIsTheLast Guard = "failed-write-is-the-last"
	UnknownCommandStops  Guard = "unknown-command-stops"
	StalledDiskHandsOver Guard = "stalled-disk-hands-over"
	ReadWaitsForApply    Guard = "read-waits-for-apply"
	HashCompared         Guard = "hash-compared"
	LogWithoutSidecar    Guard = "log-without-sidecar"
	LogWithoutManifest   Guard = "log-without-manifest"
	ProbeBeforeStanding  Guard = "probe-before-standing"
	ProposalTermCompared Guard = "proposal-term-compared"
	StepDownGivesUp      Guard = "step-down-gives-up"
	InstallTakesTime     Guard = "install-takes-time"
	DetectorKeepsVoters  Guard = "detector-keeps-voters"
	DetectorWaitsAWindow Guard = "detector-waits-a-window"
	IncarnationCounted   Guard = "incarnation-counted"
	IncarnationRecorded  Guard = "incarnation-recorded"
	WitnessedRecovers    Guard = "witnessed-recovers"
	MajorityIsEnough     Guard = "majority-is-enough"
)

var storageGuards = []Info{
	{FailureOfLogSticks, "raft 14", "a log that failed to write takes the next batch"},
	{FailedWriteIsTheLast, "raft 14", "the appender goes on after a write that failed"},
	{UnknownCommandStops, "raft 16, 17", "an entry that this version does not understand is skipped"},
	{StalledDiskHandsOver, "raft 13", "a leader whose disk stalls goes on to lead"},
	{ReadWaitsForApply, "raft, read barrier", "a read is answered before the entries that it has to see are applied"},
	{ProbeBeforeStanding, "raft 13", "a member whose disk has stalled may stand before a write was quick"},
	{MajorityIsEnough, "raft 19", "a candidate waits for everybody's answer"},
	{ProposalTermCompared, "raft, ReplicateAsync", "a proposal is answered by whatever entry took its place"},
	{StepDownGivesUp, "raft, ReplicateAsync", "whoever proposed something to a leader that stepped down waits for ever"},
	{InstallTakesTime, "coordination, replicated time", "a leader's clock goes on from the log that a snapshot replaced"},
	{DetectorKeepsVoters, "raft, failure detector", "failed members are removed until one voter is left"},
	{DetectorWaitsAWindow, "raft, failure detector", "a new leader judges others at once"},
	{MarkLags, "storage, mark of k beside k", "the slot beside a batch carries that batch's own mark"},
	{MarkCoversTruncation, "storage, when k truncates", "the slot beside a batch that cuts the log carries the mark of what it cuts"},
	{MarkGoesBackFirst, "storage, when k truncates", "a log is cut before the mark that goes beyond it goes back"},
	{MarkKeptInRecovery, "storage, recovering", "a recovering member forgets what it lost with its next batch"},
	{MarkMakesRecovering, "storage, recovering", "a log that lacks what its mark remembers is taken for whole"},
	{WitnessBelieved, "storage, incarnation", "an old copy of a directory does not believe what peers saw of it"},
	{WitnessedRecovers, "storage, incarnation", "a member that is told what it lost goes on as before"},
	{IncarnationCounted, "storage, incarnation", "a wiped directory acknowledges in the name of the one that it replaces"},
	{IncarnationRecorded, "storage, incarnation", "messages of another directory than the recorded one are taken"},
	{HigherBallotCounts, "storage, effective term and vote", "a vote that only the sidecar has does not count"},
	{TwoVotesRefused, "storage, two votes in one term", "a directory that voted twice in a term is opened"},
	{HashCompared, "storage, last equal with another hash", "another entry at the mark's position is taken for the acknowledged one"},
	{LogWithoutSidecar, "storage, no sidecar beside a log", "a log without its sidecar gets a new one"},
	{LogWithoutManifest, "storage, without MANIFEST", "a key space opens empty and deletes its tables"},
	{ChainVerified, "storage, broken chain", "an entry that does not continue the chain is taken"},
	{ChecksumVerified, "storage, a flipped byte", "checksums of entries and slots are not looked at"},
	{EmptyLogRefused, "storage, empty log beside a mark", "a log of which nothing is left goes on as an empty one"},
	{OtherOwnerRefused, "storage, sidecar", "the directory of another member or cluster is opened"},
	{CommittedIsNotCut, "storage, truncation", "a batch cuts what is committed"},
	{TailBehindSnapshot, "storage, snapshots", "the log is cut beyond the snapshot that has what goes"},
	{SpaceIsChecked, "storage, a full disk", "batches are written into the reserve"},
	{BatchIsSplit, "storage, ErrTxnTooBig", "a batch goes into one transaction, however large it is"},
	{EveryWriteIsSynced, "storage, SyncWrites", "writes are acknowledged that the disk does not have"},
}
