-- ARGV: who, when and why. No worker takes rows until the key is gone; also a full Redis takes it.
redis.call('DEL', P .. 'scratch')
redis.call('SET', P .. 'paused', ARGV[1])
return 'ok'
