;; A module without anything.
(module)
