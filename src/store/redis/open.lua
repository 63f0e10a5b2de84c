-- Makes an account, or leaves the one that is there as it is.
--
-- ARGV[4] what its field `a` says, [5] its site. Answer: `opened` or `exists` {}.

if call('EXISTS', account) == 1 then return {'exists', now, 0, {}, {}} end
fields = {'a', ARGV[4], 'site', ARGV[5], 'next', 1, 'rev', 1}
return answer('opened', 0, {})
