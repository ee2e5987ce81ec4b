# SPDX-License-Identifier: Apache-2.0
# Accuracy by subject, with 95 % intervals, of what `gemma4 eval --out OUT` left:
#   gnuplot -e "dir='OUT/MODEL'; out='F.svg'" notebooks_data/plots/eval_subjects.gp
if (!exists("out")) out = 'eval_subjects.svg'
# name, first metric, its standard error: of each row of the last results_*.json
rows = sprintf("< ls '%s'/results_*.json | tail -n 1 | xargs -d '\\n' awk '" \
    . "/^  \"results\"/ { on = 1 } /^  }/ { on = 0 } !on { next } " \
    . "/^    \"/ { split($0, a, \"\\\"\"); name = a[2]; v = \"\" } " \
    . "/^      \"(acc|exact_match),/ && v == \"\" { v = $2 + 0 } " \
    . "/^      \"(acc|exact_match)_stderr,/ && v != \"\" { " \
    . "print name, v, ($2 ~ /N.A/ ? 0 : $2 + 0); v = \"none\" }'", dir)
stats rows using 2 name 'R' nooutput
set terminal svg size 760,(120 + 22 * R_records) font 'sans,13' background rgb 'white' noenhanced
set output out
set title 'Accuracy, 95 % intervals'
set yrange [R_records - 0.3:-0.7]
set xrange [0:1]
set grid xtics lc rgb '#dddddd' lw 0.7
set tics nomirror out
unset key
plot rows using 2:0:($2 - 1.96 * $3):($2 + 1.96 * $3):ytic(1) with xerrorbars pt 7 ps 0.6 lw 1.4 \
     lc rgb '#0072b2'
