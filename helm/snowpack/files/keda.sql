-- For KEDA's `postgresql` trigger: one number, never null, on an empty lane too.
select demand from {lane}.depth_v1()
