// Package models has the sequential specification of each primitive, as porcupine (Athalye, after Wing and Gong 1993 and
// Lowe 2017) needs them: what a lock, a semaphore, an election, a barrier or a latch would answer if all calls came one after
// the other. A history of concurrent calls is linearizable if there is an order of such steps that explains each answer,
// each step within its call.
//
// A caller records what clients saw: an [Op] with the moments of its call and of its return. Three things are not known for
// sure, and are written down so that they can't be taken for more than they are:
//
//   - an acquire of unknown outcome is left out: it was cancelled or never seen, and until then was only in others' way;
//   - a release of unknown outcome, and the end of a hold that was lost, is a step that may happen at any time after the last
//     moment at which the holder surely held, or never (Op.Maybe, and [Never] as its return);
//   - a read that shows a hold whose owner never learned of it says nothing of it; [History.Check] takes such holds out of it.
//
// Histories are kept short by the caller: each instance of a primitive is used for some dozens of operations, and then left
// for another one, so that every one of them can be decided.
package models
