# SPDX-License-Identifier: Apache-2.0
# Questions whose answer turns: right without rounding and wrong with it, and the reverse.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/sensitivity_flips.gp
if (!exists("out")) out = 'sensitivity_flips.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/domains_points.csv'
set terminal svg size 900,520 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
rows = '< awk -F, ''$3 == "weights" && $9 == "all" && ($1 == "model" || $1 == "mix")'' '.table. \
       ' | sort -t, -k8,8n -k5,5'
set title 'Multiple choice, all matrices rounded: answers that turn (miniature)'
set xlabel 'formats and mixes, smallest first'
set ylabel 'questions'
set yrange [0:*]
set ytics 1
set offsets 0, 0, 0.5, 0
set xtics rotate by 45 right
set style data histogram
set style fill solid 0.9 noborder
set grid ytics lc rgb '#dddddd'
set key top right
plot rows using 33:xtic(5) lc rgb '#b02a37' title 'lost: right without rounding, not with it', \
     rows using 34 lc rgb '#1b6ca8' title 'won'
