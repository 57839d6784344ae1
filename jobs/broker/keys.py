"""Every key in Redis and what it means. Nothing else names a key.

All times are milliseconds of the Redis server's clock. Scripts build keys from job ids, so this is for one Redis (with
replicas, if wanted), not for a Redis Cluster.

key                     type    holds                                                            lives
nuwa:queue              stream  one entry {job: id} per job that has not ended                   for ever
                                  group "workers": entries beyond its last delivered id wait; pending ones are leased,
                                  and the idle time of an entry is the time since its lease was last renewed
nuwa:jobs:live          set     ids of the jobs that have not ended                              for ever
nuwa:job:{id}           hash    the job and its state, fields below; how long: note 1            job_ttl_s after its end
nuwa:job:{id}:log       stream  its events {e: JSON, t: tokens of a patch}                       job_ttl_s after its end
nuwa:job:{id}:images    hash    WebP bytes; field "7" patch 7 as drawn, "7r" as refined          job_ttl_s after its end
nuwa:claim:{name}       string  id of the job, or first candidate, that has the claim           as long as that job
nuwa:dead               stream  {job: JSON} of the jobs that were delivered too often            newest 1,000
nuwa:workers            zset    worker names by the time at which they are forgotten             for ever
nuwa:workers:models     hash    worker name -> JSON list of the models it serves                 for ever
nuwa:swept              string  present for a while after a search for jobs without an entry     10 s

Note 1: of candidates of a group: after the end of the last of them.

Fields of nuwa:job:{id}:
  job         JSON of jobs.job.Job                  status       a JobStatus
  total       patches of its grid                   done         patches that exist
  entry       its id in nuwa:queue, until the end   epoch        number of the newest lease, from 1
  worker      holder of the lease, if there is one  deliveries   how often it was taken
  fruitless   takes since the last new patch        cancel       "1" once asked to stop
  end         JSON of its last event, at the end    started, ended    times
  last_digest, last_ids   the newest append and its entry ids, so that a repeated append is recognised
"""

QUEUE = "nuwa:queue"
GROUP = "workers"
CONSUMER = "worker"  # one name for all: who holds a job is written in its hash, next to the epoch
LIVE = "nuwa:jobs:live"
DEAD = "nuwa:dead"
WORKERS = "nuwa:workers"
MODELS = "nuwa:workers:models"
SWEPT = "nuwa:swept"
JOB = "nuwa:job:"
CLAIM = "nuwa:claim:"


def job(job_id: str) -> str:
    return f"{JOB}{job_id}"


def claim(name: str) -> str:
    return f"{CLAIM}{name}"


def log(job_id: str) -> str:
    return f"{JOB}{job_id}:log"


def images(job_id: str) -> str:
    return f"{JOB}{job_id}:images"


def image_field(index: int, refined: bool) -> str:
    return f"{index}r" if refined else str(index)
