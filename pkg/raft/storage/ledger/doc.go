// Package ledger decides what a member's log on disk is worth. It has the encodings of what is stored, the choice
// between the two slots of the sidecar, the mark that goes into the next one, the check of a whole log at its opening,
// and every refusal with its advice; and it does no I/O. Package badgerlog carries out on real files what the ledger
// decides, and the simulator on simulated ones, so that the judgement that is simulated is the one that runs.
//
// The way of a directory through it, at opening: ReadSlots, CheckOwner and CheckFiles; ReadRecord or NoRecord; a Scan
// over the entries; Judge; then Ledger.Settle. Without a sidecar: CheckNew, and First for the slots of a new one.
//
// What the marks in the slots are for, and why they lag, is told in package badgerlog.
package ledger
