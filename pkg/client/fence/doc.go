// Package fence keeps holders of a lock whose time is over away from the resource that the lock protects.
//
// A holder can be stopped at any moment, for longer than its lease: a swapped-out process, a virtual machine that is
// moved, a laptop that sleeps. When it goes on it may be in the middle of a write, and somebody else holds the lock. No
// lock service can call that write back. The resource can refuse it: each grant has a fence, a number that is greater than
// that of every earlier grant, and whoever comes with a smaller one than was seen is late.
//
// The rules: an exclusive hold is refused if its fence is below any that was seen. A shared hold is refused only if its
// fence is below that of an exclusive one, so that readers may go on beside readers that came later. A semaphore's holders
// work side by side; they get no gate. [Gate] applies this in memory, for a resource that lives in one process. It
// promises that check and action are one step ([Gate.Do]), and asks that all that touch the resource pass through one gate,
// with fences of one lock (or of locks of one cluster: all fences of a cluster come from one counter). A gate knows what
// it has seen: the first word of a newer holder has to reach it before the older one can be refused. So pass
// the gate before you read what you are going to change, too.
//
// The idea is an old one: Gray and Cheriton's leases (SOSP 1989) leave this case open; Burrows' Chubby (OSDI 2006, section
// 2.4) closes it with sequencers.
//
// # SQL
//
// Where a row is what the lock protects, let it carry the fence. Shared holds that only read need nothing else:
//
//	ALTER TABLE accounts ADD fence BIGINT NOT NULL DEFAULT 0;
//
//	UPDATE accounts SET balance = :balance, fence = :fence
//	 WHERE id = :id AND fence <= :fence;
//
// No row was changed: the hold is over (or there is no such row); give up. One was: nobody newer had written before.
// Comparison and change are one statement on one row, which the database runs under that row's lock.
//
// Where the lock protects more than one row, or rows that are inserted and deleted, keep the two numbers of a Gate:
//
//	CREATE TABLE fences (
//	  resource       VARCHAR(255) NOT NULL PRIMARY KEY,
//	  exclusive_seen BIGINT NOT NULL,
//	  newest_seen    BIGINT NOT NULL);
//
// and begin each transaction that touches the resource with the statement that passes the gate. An exclusive hold, in
// PostgreSQL and SQLite:
//
//	INSERT INTO fences (resource, exclusive_seen, newest_seen) VALUES (:resource, :fence, :fence)
//	ON CONFLICT (resource) DO UPDATE SET exclusive_seen = excluded.exclusive_seen, newest_seen = excluded.newest_seen
//	 WHERE fences.newest_seen <= excluded.newest_seen;
//
// A shared one (SQLite: MAX in place of GREATEST):
//
//	INSERT INTO fences (resource, exclusive_seen, newest_seen) VALUES (:resource, 0, :fence)
//	ON CONFLICT (resource) DO UPDATE SET newest_seen = GREATEST(fences.newest_seen, excluded.newest_seen)
//	 WHERE fences.exclusive_seen <= excluded.newest_seen;
//
// MySQL has no condition there: make the row first (it is enough once), then pass:
//
//	INSERT IGNORE INTO fences (resource, exclusive_seen, newest_seen) VALUES (:resource, 0, 0);
//
//	UPDATE fences SET exclusive_seen = :fence, newest_seen = :fence
//	 WHERE resource = :resource AND newest_seen <= :fence;
//
//	UPDATE fences SET newest_seen = GREATEST(newest_seen, :fence)
//	 WHERE resource = :resource AND exclusive_seen <= :fence;
//
// No row affected: roll back, the hold is over. One row: go on; the statement holds the row's lock until the transaction
// ends, so that no newer holder passes before what this one writes is committed, and whoever was let in and is still at work
// is waited for. Three things have to be looked after:
//
//   - MySQL counts as affected the rows that were changed to another value, so that a holder that comes twice counts as
//     none. Ask it for the rows that were found: clientFoundRows=true in the data source name of go-sql-driver/mysql,
//     CLIENT_FOUND_ROWS in C.
//   - PostgreSQL under REPEATABLE READ or SERIALIZABLE answers a concurrent change with 40001 (could not serialize): roll
//     back and run the transaction again; it then compares with what the other one wrote. Under READ COMMITTED it waits and
//     compares by itself. InnoDB's UPDATE compares with the latest committed row at every isolation level.
//   - SQLite: begin with BEGIN IMMEDIATE. A transaction that began as a reader may be refused as busy when it comes to
//     write.
//
// A database that answers from a copy, or that lost acknowledged commits in a failover, may have lost fences with them.
//
// # Redis
//
// Redis runs a script as one step. KEYS[1] is a hash with the two numbers, KEYS[2] the value that is protected (in a Redis
// cluster both need the same {tag}); ARGV are the fence, exclusive or shared, and the new value:
//
//	local fence = tonumber(ARGV[1])
//	local exclusive = tonumber(redis.call('HGET', KEYS[1], 'exclusive') or '0')
//	local newest = tonumber(redis.call('HGET', KEYS[1], 'newest') or '0')
//	local seen = newest
//	if ARGV[2] == 'shared' then seen = exclusive end
//	if fence < seen then return redis.error_reply('STALE ' .. ARGV[1]) end
//	if ARGV[2] ~= 'shared' then redis.call('HSET', KEYS[1], 'exclusive', ARGV[1]) end
//	if fence > newest then redis.call('HSET', KEYS[1], 'newest', ARGV[1]) end
//	redis.call('SET', KEYS[2], ARGV[3])
//	return 'OK'
//
// Lua's numbers are floating point and exact up to 2^53; a fence has no more bits, for this reason. What is stored is the
// text that came in: Lua would write a large number with 14 digits only. The hash must not expire, nor be evicted.
// Redis replicates after it has answered: a failover can lose the last fences together with the values that were written
// under them, and a stale holder may then be let in once more.
//
// # What of this was run
//
// Gate is tested against a model. The SQLite statements are run by make test-e2e, with the sqlite3 program. Those for
// PostgreSQL, MySQL and Redis follow their manuals, and no test of this repository runs them yet.
package fence
