-- ARGV: the number of shards of this process. Returns the fleet's, which the first process sets.
redis.call('DEL', P .. 'scratch')
redis.call('HSETNX', P .. 'clock', 'shards', ARGV[1])
return redis.call('HGET', P .. 'clock', 'shards')
